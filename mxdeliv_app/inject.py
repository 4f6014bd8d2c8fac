"""A message that came by HTTPS, into Postfix, on a loopback port with port 25's restrictions and milters.

Nothing is judged here: every answer is Postfix's. Peers that ask for JSON are told of each recipient. The
others can be told one thing only, so what Postfix says at RCPT, before any of the message is sent, decides:
where it takes some recipients and refuses some, the message goes to the port `listen.mixed` instead, for
all of them. That port asks no mailbox beforehand: Dovecot answers after the queue, those it takes have their
mail, and Postfix writes the bounce for the others. One message, one 250: nothing is lost or comes twice.
What even that port refuses (a recipient that isn't ours) refuses the message; by SMTP each gets its answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from mxdeliv_app.kept import Kept
from mxdeliv_app.smtp import Conversation, IPAddress, QueueAwayError, Reply
from mxdeliv_app.wire import RecipientReply

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Ports:
    """Postfix's loopback ports: the strict one, and that for recipients of mixed fortune."""

    inject: Endpoint
    mixed: Endpoint


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who talks, and for whom: `peer` the client's address, canonical mailboxes, `size` where known."""

    peer: IPAddress
    sender: str
    recipients: tuple[str, ...]
    size: int | None


class Injector:
    """The way into Postfix, for any number of threads."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._kept = Kept()

    def inject(
        self, envelope: Envelope, data: Iterable[bytes], *, each_is_told: bool
    ) -> tuple[RecipientReply, ...]:
        """Give Postfix a message; its answer for each recipient, in their order.

        `data` is the message as DATA wants it (`lines`), without the final dot; it is asked for only if
        somebody gets the message, and what it raises ends the conversation before anything is accepted.
        Raises `QueueAwayError`.
        """
        conversation, answers = self._introduced(envelope)
        with contextlib.ExitStack() as closing:
            closing.callback(conversation.close)
            if each_is_told or not _mixed(answers):
                replies = _give_message(conversation, answers, data)
                if any(reply.accepted for reply in replies):
                    closing.pop_all()
                    self._kept.give(conversation)
                else:
                    conversation.quit()
                return replies
            conversation.quit()
        with Conversation(self._ports.mixed) as conversation:
            answers = _give_envelope(conversation, envelope)
            refused = [reply for reply in answers.values() if not reply.positive]
            if not refused:
                replies = _give_message(conversation, answers, data)
                conversation.quit()
                return replies
            conversation.quit()
        # A temporary refusal says most: that one may come again.
        worst = min(refused, key=lambda reply: reply.code)
        return _each(dict.fromkeys(answers, worst))

    def _introduced(self, envelope: Envelope) -> tuple[Conversation, dict[str, Reply]]:
        """A conversation that has heard the envelope, and what it said of each recipient.

        One that was kept may have lost Postfix or a milter while it waited. Nothing of the message was sent
        then, so a new one is asked instead, once; what that says is the answer.
        """
        kept = self._kept.take(envelope.peer)
        if kept is not None:
            with contextlib.suppress(QueueAwayError):
                answers = _give_envelope(kept, envelope)
                if not any(reply.temporary for reply in answers.values()):
                    return kept, answers
            kept.close()
        fresh = Conversation(self._ports.inject)
        try:
            return fresh, _give_envelope(fresh, envelope)
        except BaseException:
            fresh.close()
            raise


def _give_envelope(conversation: Conversation, envelope: Envelope) -> dict[str, Reply]:
    reply = conversation.open(envelope.peer)
    replies: list[Reply] = []
    if reply.positive:
        reply, replies = conversation.envelope(envelope.sender, envelope.size, envelope.recipients)
    if not reply.positive:
        return dict.fromkeys(envelope.recipients, reply)
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


def _each(answers: dict[str, Reply]) -> tuple[RecipientReply, ...]:
    return tuple(reply.to(one) for one, reply in answers.items())
