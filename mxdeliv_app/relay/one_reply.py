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
from mxdeliv_app.relay.queued_message import QueuedMessage, Recipient

HandOver = Callable[[QueuedMessage, Sequence[Recipient]], list[str]]

log = logging.getLogger(__name__)


def settled(
    letter: QueuedMessage, recipients: Sequence[Recipient], lines: Sequence[str], hand_over: HandOver
) -> list[str]:
    """Reply lines that one reply can stand for: `lines` if they agree; else `hand_over` gets the others back.

    If Postfix refuses one of these messages, all recipients are tried again: twice is better than never.
    """
    groups = _by_outcome(recipients, lines)
    if len(groups) <= 1 and not (groups and any(line.startswith("2") for line in lines)):
        return list(lines)
    recipients_left = sum(map(len, groups))
    log.info("event=split recipients=%d messages=%d queue=%s", recipients_left, len(groups), letter.queue_id)
    for group in groups:
        refused = [line for line in hand_over(letter, group) if not line.startswith("2")]
        if refused:
            return [codes.REINJECT_AWAY.reply] * len(lines)
    return [codes.PASS.reply] * len(lines)


def _by_outcome(recipients: Sequence[Recipient], lines: Sequence[str]) -> list[list[Recipient]]:
    """Recipients without the message: those to try again in one group, the others by the words of refusal."""
    groups: dict[str, list[Recipient]] = {}
    for recipient, line in zip(recipients, lines, strict=True):
        if not line.startswith("2"):
            groups.setdefault(line if line.startswith("5") else "", []).append(recipient)
    return list(groups.values())
