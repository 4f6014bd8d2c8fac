"""A message that came by HTTPS, into Postfix, on a loopback port with port 25's restrictions and milters.

Nothing is judged here: every answer is Postfix's. A peer that asks for JSON gets the answer for each
recipient. Others get one answer for all, so Postfix's replies to RCPT decide, before any of the message is
sent:

- All accepted, or all refused: that is the answer.
- Some of each: the message goes to the port `listen.mixed`, for all of them. That port takes recipients that
  Dovecot then refuses after the queue, and Postfix sends the bounce: one message, one 250, nothing lost.
- Some of each, and a bounce could not reach the sender: `UnreportableError`; the peer must go on by SMTP,
  where each recipient has its own reply. So it is with the null sender (the message is a bounce itself), with
  an envelope sender that is not the author (lists; the milter takes it away, since nothing vouches for it),
  and where the mixed port refuses a recipient too (it isn't ours). Also where the peer has tried too many
  unknown recipients: it would learn by the bounce which of the others are unknown.

docs/refused-recipients.md has this for all ways in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from chatmail_milter import codes
from chatmail_milter.reply import Reply
from mxdeliv_app.mxdeliv.smtp_client import ClientLeftError, Conversation, IPAddress, PostfixAwayError
from mxdeliv_app.mxdeliv.smtp_pool import ConnectionPool
from mxdeliv_app.mxdeliv.wire import RecipientReply

Endpoint = tuple[str, int]


_SECRET = codes.TOO_MANY_UNKNOWN.said


class UnreportableError(Exception):
    """Some recipients were accepted and some refused, and neither the answer nor a bounce can say which."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Postfix's loopback ports: the strict one, and that for recipients of mixed fortune."""

    inject: Endpoint
    mixed: Endpoint


@dataclass(frozen=True, slots=True)
class InjectedEnvelope:
    """Who talks, and for whom: `peer` the client's address, canonical mailboxes, `size` where known."""

    peer: IPAddress
    sender: str
    recipients: tuple[str, ...]
    size: int | None


class Injector:
    """The way into Postfix, for any number of threads."""

    def __init__(self, ports: Ports) -> None:
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
        """Give Postfix a message; its answer for each recipient, in their order.

        `data` is the message as DATA wants it (`lines`), without the final dot; it is asked for only if
        somebody gets the message, and what it raises ends the conversation before anything is accepted.
        `client_left` says whether the peer has hung up; it is asked while recipients are named.
        Raises `PostfixAwayError`, `UnreportableError` and `ClientLeftError`: then Postfix has not taken the
        message.
        """
        conversation, answers = self._introduced(envelope, client_left)
        with contextlib.ExitStack() as closing:
            closing.callback(conversation.close)
            if each_is_told or not _mixed(answers):
                replies = _give_message(conversation, answers, data)
                if any(reply.accepted for reply in replies):
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
        """The same on the port that takes recipients which Dovecot will refuse."""
        with Conversation(self._ports.mixed) as conversation:
            answers = _give_envelope(conversation, envelope, client_left)
            if _mixed(answers):
                conversation.quit()
                raise UnreportableError
            replies = _give_message(conversation, answers, data)
            conversation.quit()
        if any(_unreportable(reply) for reply in replies):
            raise UnreportableError
        return replies

    def _introduced(
        self, envelope: InjectedEnvelope, client_left: Callable[[], bool]
    ) -> tuple[Conversation, dict[str, Reply]]:
        """A conversation that has heard the envelope, and what it said of each recipient.

        One that was kept may have lost Postfix or a milter while it waited. Nothing of the message was sent
        then, so a new one is asked instead, once; what that says is the answer.
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
        fresh = Conversation(self._ports.inject)
        try:
            return fresh, _give_envelope(fresh, envelope, client_left)
        except BaseException:
            fresh.close()
            raise


def _give_envelope(
    conversation: Conversation, envelope: InjectedEnvelope, client_left: Callable[[], bool]
) -> dict[str, Reply]:
    def enough(batch: Sequence[Reply]) -> bool:
        if client_left():
            raise ClientLeftError
        # Of the others it would not be told either, at the same cost.
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
    conversation: Conversation, answers: dict[str, Reply], data: Iterable[bytes]
) -> tuple[RecipientReply, ...]:
    """The message, for those accepted so far: Postfix's verdict on it is their answer."""
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
    """Whether Postfix did not say if there is such a recipient, to a peer that tried too many."""
    return (reply.code, reply.enhanced) == (_SECRET.code, _SECRET.enhanced)


def _unreportable(reply: RecipientReply) -> bool:
    """Whether this is the milter's answer to a message that allows no bounce to the author."""
    return reply.reply == codes.UNREPORTABLE_REFUSAL.said


def _each(answers: dict[str, Reply]) -> tuple[RecipientReply, ...]:
    return tuple(
        RecipientReply(one, reply.code, reply.enhanced, reply.text) for one, reply in answers.items()
    )
