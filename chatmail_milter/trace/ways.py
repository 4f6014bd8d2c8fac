"""Groups steps by message: the way of each message, its outcome, and what to do next.

A message has a queue ID for each time that it enters Postfix's queue on this host: again when mxdeliv-relay
hands it back for SMTP, and the bounce about it has one of its own. A refusal without a queue ID is a way by
itself. For a message that has not arrived, `advice` says whom the operator should ask, and for what. Pure:
reads no journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from chatmail_milter.trace.steps import REINJECT, RELAY, TracedStep

# The last word of a recipient's deliveries, as the state of it.
_STATES: Mapping[str, str] = MappingProxyType(
    {"sent": "delivered", "deferred": "waiting", "bounced": "returned", "expired": "returned"}
)


@dataclass(frozen=True, slots=True)
class TracedRecipient:
    """The outcome of a message for one recipient.

    `state`: delivered, waiting, returned, refused, or unknown if the journal has no more lines. `road`:
    mailbox, https, smtp, or empty before a delivery. `answer`: the last one, at the time `at`.
    `peer_queue_id`: the message's queue ID at the peer, if the answer has it.
    """

    address: str
    state: str
    road: str
    answer: str
    peer_queue_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TracedMessage:
    """All of one message; `queue_ids` in the order in which they were given. Steps are in time's order."""

    message_id: str
    sender: str | None
    queue_ids: tuple[str, ...]
    recipients: tuple[TracedRecipient, ...]
    steps: tuple[TracedStep, ...]

    def is_of(self, text: str) -> bool:
        """Whether `text` is its Message-ID, a queue ID here or at a peer, or an address of its envelope."""
        named = text.strip("<>")
        if named in self.queue_ids or (named and named == self.message_id):
            return True
        addresses = {one.address.lower() for one in self.recipients} | {(self.sender or "").lower()}
        return named.lower() in addresses - {""} or any(one.peer_queue_id == named for one in self.recipients)


def ways(steps: Iterable[TracedStep]) -> list[TracedMessage]:
    """Groups steps into the ways of messages, in the order of their first steps."""
    legs: dict[str, list[TracedStep]] = {}
    alone: list[list[TracedStep]] = []
    for one in sorted(steps, key=lambda one: one.at):
        if one.queue_id:
            legs.setdefault(one.queue_id, []).append(one)
        else:
            alone.append([one])
    found = [_way(found) for found in [*_together(legs), *alone]]
    return sorted(found, key=lambda way: way.steps[0].at)


def _together(legs: Mapping[str, list[TracedStep]]) -> Iterable[list[TracedStep]]:
    """Joins the steps of all queue IDs of one message."""
    first = {queue_id: queue_id for queue_id in legs}

    def root(queue_id: str) -> str:
        while first[queue_id] != queue_id:
            queue_id = first[queue_id]
        return queue_id

    for queue_id, steps in legs.items():
        for one in steps:
            if goes_on(one, legs):
                first[root(one.leads_to)] = root(queue_id)
    found: dict[str, list[TracedStep]] = {}
    for queue_id, steps in legs.items():
        found.setdefault(root(queue_id), []).extend(steps)
    return [sorted(steps, key=lambda one: one.at) for steps in found.values()]


def goes_on(one: TracedStep, legs: Mapping[str, list[TracedStep]]) -> bool:
    """Whether the message goes on under another queue ID of this host: by our programs' own lines.

    The text of a delivery is a peer's, which may name the queue ID of any message. It counts for bounces
    alone, of which Postfix tells mxdeliv-relay no queue ID, and if Postfix gave both the same Message-ID.
    """
    if one.leads_to not in legs or one.leads_to == one.queue_id:
        return False
    if one.kind != "delivery":
        return True
    onward, here = legs[one.leads_to], legs[one.queue_id]
    return (
        one.program == RELAY
        and any(step.program == REINJECT for step in onward)
        and any(step.sender == "" for step in here)
        and bool(_message_ids(here) & _message_ids(onward))
    )


def _message_ids(steps: list[TracedStep]) -> set[str]:
    return {one.message_id for one in steps if one.message_id}


def _way(steps: list[TracedStep]) -> TracedMessage:
    ids = tuple(dict.fromkeys(one.queue_id for one in steps if one.queue_id))
    # Of the message, and not of a bounce about it.
    bounces = {one.leads_to for one in steps if one.kind == "bounce"}
    own = [one for one in steps if one.queue_id not in bounces] or steps
    return TracedMessage(
        message_id=next((one.message_id for one in own if one.message_id), ""),
        sender=next((one.sender for one in own if one.sender is not None), None),
        queue_ids=ids,
        recipients=_recipients(own, set(ids)),
        steps=tuple(steps),
    )


def _recipients(steps: list[TracedStep], ids: set[str]) -> tuple[TracedRecipient, ...]:
    found: dict[str, TracedRecipient] = {}
    over = any(one.kind == "expired" for one in steps)
    roads = {one.queue_id: one.status for one in steps if one.kind == "road"}
    for one in steps:
        for address in one.recipients:
            if one.kind == "refused":
                found[address] = TracedRecipient(address, "refused", "", one.reason, "", one.at)
            elif one.kind == "delivery" and one.leads_to in ids:
                # Handed back: the delivery under the next queue ID says what became of it.
                found.setdefault(address, TracedRecipient(address, "unknown", "smtp", one.reason, "", one.at))
            elif one.kind == "delivery":
                state = (
                    "returned" if over and one.status == "deferred" else _STATES.get(one.status, "unknown")
                )
                road = _road(one, roads.get(one.queue_id, ""))
                found[address] = TracedRecipient(address, state, road, one.reason, one.leads_to, one.at)
    return tuple(found.values())


def _road(delivery: TracedStep, of_relay: str) -> str:
    if delivery.program == RELAY:
        return of_relay if of_relay in ("https", "smtp") else "https"
    return "mailbox" if delivery.program == "postfix/lmtp" else "smtp"


_ROADS = {"https": "HTTPS", "smtp": "SMTP"}


def advice(way: TracedMessage) -> list[str]:
    """Sentences, each once; none where all of the message is in mailboxes here."""
    found = [sentence for one in way.recipients for sentence in _about(way, one)]
    return list(dict.fromkeys(found))


def _about(way: TracedMessage, one: TracedRecipient) -> Iterator[str]:
    domain = one.address.rpartition("@")[2]
    when = f"{one.at:%Y-%m-%d %H:%M:%S} UTC"
    road = _ROADS.get(one.road)
    if one.state == "delivered" and road is not None:
        named = (
            f"queue ID {one.peer_queue_id}"
            if one.peer_queue_id
            else f"Message-ID {way.message_id or 'unknown'}"
        )
        yield f"Ask the operator of {domain} for {named}: taken by {road} at {when}, with: {one.answer}"
    elif one.state == "waiting" and road is not None:
        yield f"Ask the operator of {domain} why it said at {when}, by {road}: {one.answer}"
        yield f"See `chatmailctl peers show {domain}` and `chatmailctl probe {domain}`."
        yield f"`chatmailctl queue flush {domain}` tries it now."
    elif one.state == "waiting":
        yield f"Dovecot put it off at {when}: see `chatmailctl doctor`."
    elif one.state == "returned":
        yield f"The bounce to the sender says why: {one.answer}"
    elif one.state == "refused":
        yield f"The sender was told: {one.answer}"
