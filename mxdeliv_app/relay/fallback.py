"""Gives mail back to Postfix: its reinject port queues the message for SMTP, or for a second attempt.

The envelope is unchanged. Each recipient gets the reply of this Postfix; 250 means that the message is in
Postfix's queue, on disk.

For smtp(8) there is one reply after DATA for all recipients of a transaction (RFC 5321, 4.2.5). If their
outcomes differ, a 451 for all would repeat the message to those who have it, and a 250 would lose the
refusals of the others. So the others are given back to Postfix, as one message for each outcome, and the
reply is 250. Each of these messages has fewer recipients or fewer outcomes than the original, so mail can't
loop.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence

from chatmail_milter import codes
from chatmail_milter.config.values import HostPort
from chatmail_milter.verdict import Reply
from mxdeliv_app.https.event_loop import may_wait
from mxdeliv_app.https.spooled import Octets, SpooledOctets
from mxdeliv_app.mxdeliv.dot_stuffing import stuffed, stuffed_pieces
from mxdeliv_app.mxdeliv.smtp_client import PostfixAwayError, SmtpClient
from mxdeliv_app.relay.queued_message import QueuedMessage, Recipient

TIMEOUT = 60.0  # seconds; cleanup answers in milliseconds unless the disk is ill

# smtpd(8) ends its reply to the end of data so.
_QUEUED_AS = re.compile(r"queued as ([0-9A-Za-z]+)\Z")
HandOver = Callable[[QueuedMessage, Sequence[Recipient]], list[Reply]]

log = logging.getLogger(__name__)


class Fallback:
    """Gives mail back. Thread-safe."""

    def __init__(self, reinject: HostPort, hostname: str) -> None:
        self._reinject = reinject
        self._hostname = hostname

    def hand_over(self, message: QueuedMessage, recipients: Sequence[Recipient]) -> list[Reply]:
        """Gives `message` back for some of its `recipients`; returns a reply for each, in order."""
        may_wait()
        try:
            with SmtpClient(self._reinject.pair, connecting=TIMEOUT, ending=TIMEOUT) as postfix:
                return self._transact(postfix, message, recipients)
        except (PostfixAwayError, ValueError) as error:
            log.error(
                "event=reinject-failed error=%s: mail that goes on by SMTP is handed to listen.reinject, %s: "
                "Postfix's master.cf needs an smtpd there queue=%s",
                type(error.__cause__ or error).__name__,
                self._reinject,
                message.queue_id,
            )
            return [codes.REINJECT_AWAY.said] * len(recipients)

    def _transact(
        self, postfix: SmtpClient, message: QueuedMessage, recipients: Sequence[Recipient]
    ) -> list[Reply]:
        hello = postfix.greet(self._hostname)
        if not hello.accepted:
            raise PostfixAwayError(f"EHLO: {hello.code}")
        named = [one.raw for one in recipients]
        size = len(message.content)
        sender, replies = postfix.envelope(message.sender, size, named, smtputf8=message.smtputf8)
        if not sender.accepted:
            replies = [sender] * len(recipients)
        if any(reply.accepted for reply in replies):
            go_on = postfix.data()
            if go_on.code != 354:
                raise PostfixAwayError(f"DATA: {go_on.code}")
            answer = _sent(postfix, message.content)
            queued = _QUEUED_AS.search(answer.text)
            if answer.accepted and queued:
                # `chatmailctl trace` follows it by this line: a peer may say `queued as`, too.
                log.info("event=handed-back onward=%s queue=%s", queued[1], message.queue_id)
            replies = [answer if reply.accepted else reply for reply in replies]
        postfix.quit()
        return replies


def _sent(postfix: SmtpClient, content: Octets) -> Reply:
    if not isinstance(content, SpooledOctets):
        return postfix.end(stuffed(content))
    for piece in stuffed_pieces(content.slices()):
        postfix.write(piece)
    return postfix.end(b"")


def one_for_all(
    message: QueuedMessage, recipients: Sequence[Recipient], replies: Sequence[Reply], hand_over: HandOver
) -> list[Reply]:
    """Makes all replies equal: `replies` if they agree; else gives the recipients without the message back.

    If Postfix refuses one of these messages, all recipients are tried again, and some get the message twice.
    """
    groups = _by_outcome(recipients, replies)
    if len(groups) <= 1 and not (groups and any(reply.accepted for reply in replies)):
        return list(replies)
    recipients_left = sum(map(len, groups))
    log.info("event=split recipients=%d messages=%d queue=%s", recipients_left, len(groups), message.queue_id)
    for group in groups:
        if not all(reply.accepted for reply in hand_over(message, group)):
            return [codes.REINJECT_AWAY.said] * len(replies)
    return [codes.PASS.said] * len(replies)


def _by_outcome(recipients: Sequence[Recipient], replies: Sequence[Reply]) -> list[list[Recipient]]:
    """Groups the recipients without the message: those to try again, and the others by their refusal."""
    groups: dict[Reply | None, list[Recipient]] = {}
    for recipient, reply in zip(recipients, replies, strict=True):
        if not reply.accepted:
            groups.setdefault(reply if reply.final else None, []).append(recipient)
    return list(groups.values())
