"""Handing mail back to Postfix: its reinject port queues it for delivery by SMTP, or for a second attempt.

The envelope goes over as it came. Each recipient gets the reply that this Postfix gave for it; 250 means
that it is in Postfix's queue, on disk.

smtp(8) hears one reply after DATA for all recipients of a transaction (RFC 5321, 4.2.5). Where their outcomes
differ, a 451 for all would have those who have the message get it again with each retry, a 250 would lose the
others' refusals. So the others go back to Postfix, one message for each outcome, and the reply is 250. Each
of these messages has fewer recipients or fewer outcomes than the one it came from, so mail does not go in
circles.
"""

from __future__ import annotations

import logging
import re
import smtplib
from collections.abc import Callable, Sequence

from chatmail_milter import codes
from chatmail_milter.config.values import HostPort
from chatmail_milter.reply import Reply
from mxdeliv_app.https.event_loop import may_wait
from mxdeliv_app.mxdeliv import wire
from mxdeliv_app.relay.queued_message import QueuedMessage, Recipient

TIMEOUT = 60.0  # seconds for each reply; cleanup answers in milliseconds unless the disk is ill

# RFC 3463, 2.
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")

HandOver = Callable[[QueuedMessage, Sequence[Recipient]], list[Reply]]

log = logging.getLogger(__name__)


class Fallback:
    """The way back; safe for threads."""

    def __init__(self, reinject: HostPort, hostname: str) -> None:
        self._reinject = reinject
        self._hostname = hostname

    def hand_over(self, letter: QueuedMessage, recipients: Sequence[Recipient]) -> list[Reply]:
        """Replies, one for each of `recipients` (some of those of `letter`), in order."""
        may_wait()
        try:
            host, port = self._reinject.pair
            with smtplib.SMTP(host, port, local_hostname=self._hostname, timeout=TIMEOUT) as client:
                # smtplib says ASCII unless told; an address in UTF-8 comes only with SMTPUTF8 (RFC 6531).
                client.command_encoding = "utf-8"
                return _transact(client, letter, recipients)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            log.error(
                "event=reinject-failed error=%s: mail that goes on by SMTP is handed to listen.reinject, %s: "
                "Postfix's master.cf needs an smtpd there queue=%s",
                type(error).__name__,
                self._reinject,
                letter.queue_id,
            )
            return [codes.REINJECT_AWAY.said] * len(recipients)


def _transact(client: smtplib.SMTP, letter: QueuedMessage, recipients: Sequence[Recipient]) -> list[Reply]:
    client.ehlo_or_helo_if_needed()
    parameters = f"BODY=8BITMIME SIZE={len(letter.content)}{' SMTPUTF8' if letter.smtputf8 else ''}"
    # `client.mail` would take addresses apart and put them together in its own way.
    code, text = client.docmd("MAIL", f"FROM:<{letter.sender}> {parameters}")
    if code != 250:
        return [reply_of(code, text)] * len(recipients)
    replies = []
    for one in recipients:
        code, text = client.docmd("RCPT", f"TO:<{one.raw}>")
        replies.append(reply_of(code, text))
    if not any(reply.accepted for reply in replies):
        return replies
    answer = reply_of(*client.data(letter.content))
    return [answer if reply.accepted else reply for reply in replies]


def reply_of(code: int, text: bytes) -> Reply:
    """What Postfix said, as smtplib tells it: each line of `text` but the first after a line feed."""
    words = wire.one_line(text.replace(b"\n", b" "))
    status, _, rest = words.partition(" ")
    return Reply(code, status, rest) if _STATUS.fullmatch(status) and rest else Reply(code, "", words)


def one_for_all(
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
