"""A message's way from one chat client to another, hop by hop, from the two relays' journals.

The moments, in order: told to send (client), queued (sender's relay), handed to the relay daemon or to
smtp(8), queued (receiver's relay), handed to Dovecot, saved in the Maildir, shown (client). A hop is the
time between two of them, so the hops add up to the whole.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from tests.chat import journal
from tests.chat.journal import LoggedEntry
from tests.chat.queue_log import LoggedDelivery, QueueFile, of_message, queue_files
from tests.lab.host import LabHost

HOPS = ("submit", "queue", "wire", "queue there", "Maildir", "IDLE")


@dataclass(frozen=True)
class Trace:
    """A message's way. `road` is how it came in at the receiver's: `https` or `smtp`. Seconds per hop."""

    road: str
    submit: float
    queue: float
    wire: float
    queue_there: float
    maildir: float
    idle: float

    @property
    def hops(self) -> tuple[float, ...]:
        """In the order of `HOPS`."""
        return (self.submit, self.queue, self.wire, self.queue_there, self.maildir, self.idle)

    @property
    def total(self) -> float:
        """From told to send to shown."""
        return sum(self.hops)


def trace(
    sender_side: Sequence[LoggedEntry],
    receiver_side: Sequence[LoggedEntry],
    message_id: str,
    told: float,
    shown: float,
) -> Trace | None:
    """The way of a message, or None as long as the journals don't tell the whole of it."""
    here = queue_files(sender_side)
    there = queue_files(receiver_side)
    came = of_message(here, message_id, "submission")
    arrived = of_message(there, message_id, "mxdeliv")
    road = "https"
    if arrived is None:
        arrived, road = of_message(there, message_id, "smtp"), "smtp"
    if came is None or arrived is None:
        return None
    handed = _accepted(came)
    local = _accepted(arrived)
    laid = saved_at(receiver_side, message_id)
    if handed is None or local is None or not laid:
        return None
    return Trace(
        road,
        submit=came.queued - told,
        queue=handed.started - came.queued,
        wire=arrived.queued - handed.started,
        queue_there=local.started - arrived.queued,
        maildir=laid - local.started,
        idle=shown - laid,
    )


def _accepted(file: QueueFile) -> LoggedDelivery | None:
    return next((one for one in file.deliveries if one.status == "sent"), None)


def saved_at(entries: Sequence[LoggedEntry], message_id: str) -> float:
    """When Dovecot's LMTP said that the message lies in the Maildir (`msgid=<…>: saved mail to INBOX`).

    0 if it did not.
    """
    for entry in entries:
        if entry.who == "dovecot" and message_id in entry.text and "saved mail to" in entry.text:
            return entry.at
    return 0.0


def saved(host: LabHost, message_id: str, since: float) -> float:
    """The same, of a host's journal."""
    return saved_at(journal.read(host, since - 0.5), message_id)


def inbound_roads(entries: Sequence[LoggedEntry], people: Container[str] | None = None) -> list[str]:
    """How each message from outside to these addresses, or to any, came in: `https` or `smtp`, in order."""
    roads = {"mxdeliv": "https", "smtp": "smtp"}
    files = [file for file in queue_files(entries) if file.service in roads]
    return [
        roads[file.service]
        for file in files
        if any(people is None or one.recipient in people for one in file.deliveries)
    ]
