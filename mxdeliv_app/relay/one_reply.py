"""Several recipients, one SMTP reply: what to do where their outcomes differ.

smtp(8) hears one reply after DATA for all recipients of a transaction (RFC 5321, 4.2.5). A 451 for all would
have those who have the message get it again with each retry, a 250 would lose the others' refusals. So the
others go back to Postfix, one message for each outcome, and the reply is 250. Each of these messages has
fewer recipients or fewer outcomes than the one it came from, so mail does not go in circles.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from chatmail_milter import codes
from chatmail_milter.reply import Reply
from mxdeliv_app.relay.queued_message import QueuedMessage, Recipient

HandOver = Callable[[QueuedMessage, Sequence[Recipient]], list[Reply]]

log = logging.getLogger(__name__)


def settled(
    letter: QueuedMessage, recipients: Sequence[Recipient], replies: Sequence[Reply], hand_over: HandOver
) -> list[Reply]:
    """Replies that one can stand for: `replies` if they agree; else `hand_over` gets the others back.

    If Postfix refuses one of these messages, all recipients are tried again: twice is better than never.
    """
    groups = _by_outcome(recipients, replies)
    if len(groups) <= 1 and not (groups and any(reply.accepted for reply in replies)):
        return list(replies)
    recipients_left = sum(map(len, groups))
    log.info("event=split recipients=%d messages=%d queue=%s", recipients_left, len(groups), letter.queue_id)
    for group in groups:
        if not all(reply.accepted for reply in hand_over(letter, group)):
            return [codes.REINJECT_AWAY.said] * len(replies)
    return [codes.PASS.said] * len(replies)


def _by_outcome(recipients: Sequence[Recipient], replies: Sequence[Reply]) -> list[list[Recipient]]:
    """Recipients without the message: those to try again in one group, the others by their refusal."""
    groups: dict[Reply | None, list[Recipient]] = {}
    for recipient, reply in zip(recipients, replies, strict=True):
        if not reply.accepted:
            groups.setdefault(reply if reply.final else None, []).append(recipient)
    return list(groups.values())
