"""Injects messages that arrived by HTTPS into Postfix, on a loopback port with all checks of port 25.

All replies are Postfix's. A peer that accepts JSON gets the reply for each recipient. Other peers get one
answer for all, so Postfix's replies to RCPT decide before the message is sent:

- All recipients accepted, or all refused: that is the answer.
- Some accepted, some refused: the message is sent to the port `listen.mixed` instead, for all recipients.
  That port accepts recipients that Dovecot then refuses after the queue, and Postfix sends a bounce for them.
- The same, but a bounce could not reach the sender: raises `UnreportableError`, and the peer must use SMTP,
  which has a reply for each recipient. This applies to the null sender (the message is a bounce itself), to
  an envelope sender other than the author (mailing lists; the milter replaces it by the null sender, as it
  is not verified), if the mixed port refuses a recipient, too (it is not ours), and if the peer has tried too
  many unknown recipients: the bounce would tell it which of the others are unknown.

docs/refused-recipients.md describes this for all protocols.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from chatmail_milter import codes
from chatmail_milter.verdict import Reply
from mxdeliv_app.mxdeliv.smtp_client import ClientLeftError, IPAddress, PostfixAwayError, SmtpClient
from mxdeliv_app.mxdeliv.smtp_pool import ConnectionPool
from mxdeliv_app.mxdeliv.wire import RecipientReply

Endpoint = tuple[str, int]


_SECRET = codes.TOO_MANY_UNKNOWN.said


class UnreportableError(Exception):
    """Some recipients were accepted and some refused, and neither the answer nor a bounce can tell which."""


@dataclass(frozen=True, slots=True)
class InjectPorts:
    """Postfix's loopback ports `listen.inject` and `listen.mixed`."""

    inject: Endpoint
    mixed: Endpoint


@dataclass(frozen=True, slots=True)
class InjectedEnvelope:
    """Peer's IP address, canonical envelope sender and recipients, `size` in octets if known."""

    peer: IPAddress
    sender: str
    recipients: tuple[str, ...]
    size: int | None


class Injector:
    """Injects messages, over pooled connections. Thread-safe."""

    def __init__(self, ports: InjectPorts) -> None:
        self._ports = ports
        self._pool = ConnectionPool()

    def inject(
        self,
        envelope: InjectedEnvelope,
        data: Iterable[bytes],
        *,
        each_is_told: bool,
        client_left: Callable[[], bool] = lambda: False,
    ) -> tuple[RecipientReply, ...]:
        """Sends a message to Postfix. Returns its reply for each recipient, in order.

        `data`: the message from `DataEncoder`, without the final dot; only iterated if a recipient is
        accepted. If it raises, the connection is closed and nothing is accepted. `each_is_told`: the peer
        accepts JSON. `client_left`: whether the peer has closed its connection; called between batches of
        RCPT. Raises `PostfixAwayError`, `UnreportableError`, `ClientLeftError`; then Postfix has not accepted
        the message.
        """
        conversation, answers = self._introduced(envelope, client_left)
        with contextlib.ExitStack() as closing:
            closing.callback(conversation.close)
            if each_is_told or not _mixed(answers):
                replies = _give_message(conversation, answers, data)
                if any(one.reply.accepted for one in replies):
                    closing.pop_all()
                    self._pool.release(conversation)
                else:
                    conversation.quit()
                return replies
            conversation.quit()
        if not envelope.sender or any(kept_secret(reply) for reply in answers.values()):
            raise UnreportableError
        return self._inject_for_bounces(envelope, data, client_left)

    def _inject_for_bounces(
        self, envelope: InjectedEnvelope, data: Iterable[bytes], client_left: Callable[[], bool]
    ) -> tuple[RecipientReply, ...]:
        """Sends a message to the mixed port, which accepts recipients that Dovecot will refuse."""
        with SmtpClient(self._ports.mixed) as conversation:
            answers = _give_envelope(conversation, envelope, client_left)
            if _mixed(answers):
                conversation.quit()
                raise UnreportableError
            replies = _give_message(conversation, answers, data)
            conversation.quit()
        if any(_unreportable(one.reply) for one in replies):
            raise UnreportableError
        return replies

    def _introduced(
        self, envelope: InjectedEnvelope, client_left: Callable[[], bool]
    ) -> tuple[SmtpClient, dict[str, Reply]]:
        """A connection on which the envelope was sent, and the replies for the recipients.

        On a pooled connection, Postfix or a milter may have gone away meanwhile. As no part of the message
        has been sent, a new connection is tried then, once.
        """
        kept = self._pool.acquire(envelope.peer)
        if kept is not None:
            try:
                answers = _give_envelope(kept, envelope, client_left)
                if not any(reply.temporary and not kept_secret(reply) for reply in answers.values()):
                    return kept, answers
            except PostfixAwayError:
                pass
            except BaseException:
                kept.close()
                raise
            kept.close()
        fresh = SmtpClient(self._ports.inject)
        try:
            return fresh, _give_envelope(fresh, envelope, client_left)
        except BaseException:
            fresh.close()
            raise


def _give_envelope(
    conversation: SmtpClient, envelope: InjectedEnvelope, client_left: Callable[[], bool]
) -> dict[str, Reply]:
    def enough(batch: Sequence[Reply]) -> bool:
        if client_left():
            raise ClientLeftError
        # The remaining recipients would get the same reply, at the same cost.
        return all(kept_secret(reply) for reply in batch)

    reply = conversation.open(envelope.peer)
    replies: list[Reply] = []
    if reply.positive:
        reply, replies = conversation.envelope(envelope.sender, envelope.size, envelope.recipients, enough)
    if not reply.positive:
        return dict.fromkeys(envelope.recipients, reply)
    replies += [_SECRET] * (len(envelope.recipients) - len(replies))
    return dict(zip(envelope.recipients, replies, strict=True))


def _give_message(
    conversation: SmtpClient, answers: dict[str, Reply], data: Iterable[bytes]
) -> tuple[RecipientReply, ...]:
    """Sends the message, if any recipient is accepted; Postfix's final reply is then their reply."""
    accepted = [one for one, reply in answers.items() if reply.positive]
    if accepted:
        verdict = conversation.data()
        if verdict.positive:
            last = b""
            for octets in data:
                conversation.write(last)
                last = octets
            verdict = conversation.end(last)
        answers = answers | dict.fromkeys(accepted, verdict)
    return _each(answers)


def _mixed(answers: dict[str, Reply]) -> bool:
    return len({reply.positive for reply in answers.values()}) > 1


def kept_secret(reply: Reply) -> bool:
    """Whether it is the reply to a peer that tried too many unknown recipients."""
    return (reply.code, reply.enhanced) == (_SECRET.code, _SECRET.enhanced)


def _unreportable(reply: Reply) -> bool:
    """Whether it is the milter's reply to a message for which no bounce can be sent to the author."""
    return reply == codes.UNREPORTABLE_REFUSAL.said


def _each(answers: dict[str, Reply]) -> tuple[RecipientReply, ...]:
    # Each has an enhanced status code on the wire: without Postfix's, one is made from the reply code.
    return tuple(
        RecipientReply(one, Reply(reply.code, reply.enhanced or f"{reply.code // 100}.0.0", reply.text))
        for one, reply in answers.items()
    )
