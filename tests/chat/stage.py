"""Two people on two relays, the hosts they live on, and a message's passage between them with its evidence.

What the demo's stories and the end-to-end tests stand on. A passage is only reported when the receiver's
core shows the message and both journals tell how it came.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chat import hops, journal
from tests.chat.core import Core
from tests.chat.deadline import deadline, until
from tests.chat.person import Person, ReceivedMessage, SentMessage, fresh_address, fresh_password
from tests.lab import Lab
from tests.lab.host import LabHost

LOGIN_SECONDS = 30.0
SECUREJOIN_SECONDS = 60.0
TEXT_SECONDS = 30.0
FILE_SECONDS = 60.0
# The journal is read when the client has the message already; its last line is seldom behind.
JOURNAL_SECONDS = 10.0

FIVE_MEGABYTES = 5_000_000


@dataclass(frozen=True)
class Passage:
    """A message that went from one person to another."""

    sent: SentMessage
    received: ReceivedMessage
    trace: hops.Trace


class Stage:
    """The lab's hosts, a running core in its client namespace, and the people who logged in."""

    def __init__(self, lab: Lab, core: Core) -> None:
        self.lab = lab
        self.core = core

    def host_of(self, address: str) -> LabHost:
        """The relay that an address lives on."""
        domain = address.partition("@")[2]
        return next(host for host in map(self.lab.host, ("a", "b", "mta")) if host.domain == domain)

    def newcomer(self, domain: str) -> Person:
        """Someone whose account is made by their first login."""
        person = Person(self.core, fresh_address(domain), fresh_password())
        with deadline(f"first login of {person.address}", LOGIN_SECONDS):
            person.log_in()
        return person

    def acquaint(self, one: Person, other: Person) -> None:
        """`other` scans the QR code of `one`."""
        with deadline("SecureJoin", SECUREJOIN_SECONDS):
            other.join(one, SECUREJOIN_SECONDS)

    def text(self, sender: Person, receiver: Person, seconds: float = TEXT_SECONDS) -> Passage:
        """A text of its own words from one to the other."""
        return self._passage(sender, receiver, *self.say(sender, receiver, seconds))

    def say(
        self, sender: Person, receiver: Person, seconds: float = TEXT_SECONDS
    ) -> tuple[SentMessage, ReceivedMessage]:
        """The same, on hosts that are not of the lab's plan or whose journals another version wrote."""
        words = f"hello {secrets.token_hex(4)}"
        with deadline(f"text from {sender.address}", seconds):
            mark = receiver.events.mark()
            sent = sender.send(sender.chat_with(receiver), words)
            received = receiver.received_text(words, mark, seconds)
        return sent, received

    def file(self, sender: Person, receiver: Person, size: int, seconds: float = FILE_SECONDS) -> Passage:
        """A file of random octets, which arrives octet for octet."""
        name = f"{secrets.token_hex(4)}.bin"
        path = self.core.directory / name
        path.write_bytes(os.urandom(size))
        with deadline(f"file from {sender.address}", seconds):
            mark = receiver.events.mark()
            sent = sender.send(sender.chat_with(receiver), "", path)
            received = receiver.received(f"file at {receiver.address}", _holds(name), mark, seconds)
        if _digest(path) != _digest(Path(received.message["file"])):
            raise AssertionError(f"the file of {size} octets arrived altered")
        return self._passage(sender, receiver, sent, received)

    def _passage(
        self, sender: Person, receiver: Person, sent: SentMessage, received: ReceivedMessage
    ) -> Passage:
        here, there = self.host_of(sender.address), self.host_of(receiver.address)
        since = sent.at - 0.5

        def told() -> hops.Trace | None:
            return hops.trace(
                journal.read(here, since), journal.read(there, since), sent.message_id, sent.at, received.at
            )

        return Passage(sent, received, until("both journals tell of the message", told, JOURNAL_SECONDS))


def _holds(name: str) -> Any:
    return lambda message: message["fileName"] == name and message["file"]


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
