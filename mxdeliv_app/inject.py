"""A message that came by HTTPS, into Postfix, on a loopback port with port 25's restrictions and milters.

Nothing is judged here: every answer is Postfix's. Peers that ask for JSON are told of each recipient. The
others can be told one thing only, so what Postfix says at RCPT, before any of the message is sent, decides:
where it takes some recipients and refuses some, the message goes to the port `listen.mixed` instead, for
all of them. That port asks no mailbox beforehand: Dovecot answers after the queue, those it takes have their
mail, and Postfix writes the bounce for the others. One message, one 250: nothing is lost or comes twice.
What even that port refuses (a recipient that isn't ours) refuses the message; by SMTP each gets its answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mxdeliv_app.smtp import Conversation, IPAddress, Reply
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


def inject(
    ports: Ports, envelope: Envelope, data: Iterable[bytes], *, each_is_told: bool
) -> tuple[RecipientReply, ...]:
    """Give Postfix a message; its answer for each recipient, in their order.

    `data` is the message as DATA wants it (`lines`), without the final dot; it is asked for only if somebody
    gets the message, and what it raises ends the conversation before anything is accepted. Raises
    `QueueAwayError`.
    """
    with Conversation(ports.inject) as conversation:
        answers = _give_envelope(conversation, envelope)
        if each_is_told or not _mixed(answers):
            return _give_message(conversation, answers, data)
        conversation.quit()
    with Conversation(ports.mixed) as conversation:
        answers = _give_envelope(conversation, envelope)
        refused = [reply for reply in answers.values() if not reply.positive]
        if not refused:
            return _give_message(conversation, answers, data)
        conversation.quit()
    # A temporary refusal says most: that one may come again.
    worst = min(refused, key=lambda reply: reply.code)
    return _each(dict.fromkeys(answers, worst))


def _give_envelope(conversation: Conversation, envelope: Envelope) -> dict[str, Reply]:
    reply = conversation.open(envelope.peer, _literal(envelope.peer))
    if reply.positive:
        reply = conversation.mail(envelope.sender, envelope.size)
    if not reply.positive:
        return dict.fromkeys(envelope.recipients, reply)
    return dict(zip(envelope.recipients, conversation.recipients(envelope.recipients), strict=True))


def _give_message(
    conversation: Conversation, answers: dict[str, Reply], data: Iterable[bytes]
) -> tuple[RecipientReply, ...]:
    """The message, for those accepted so far: Postfix's verdict on it is their answer."""
    accepted = [one for one, reply in answers.items() if reply.positive]
    if accepted:
        verdict = conversation.data()
        if verdict.positive:
            for octets in data:
                conversation.write(octets)
            verdict = conversation.end()
        answers = answers | dict.fromkeys(accepted, verdict)
    conversation.quit()
    return _each(answers)


def _mixed(answers: dict[str, Reply]) -> bool:
    return len({reply.positive for reply in answers.values()}) > 1


def _each(answers: dict[str, Reply]) -> tuple[RecipientReply, ...]:
    return tuple(reply.to(one) for one, reply in answers.items())


def _literal(peer: IPAddress) -> str:
    """What a client without a name says in EHLO (RFC 5321, 4.1.3). HTTPS peers tell us none."""
    return f"[IPv6:{peer}]" if peer.version == 6 else f"[{peer}]"
