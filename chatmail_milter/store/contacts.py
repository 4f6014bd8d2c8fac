"""One attempt to hand over a message, and many of them added up, as `peers` writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from chatmail_milter.store.latency import bucket

Road = Literal["https", "smtp", "inbound", "submission"]
Door = Literal["smtp", "mxdeliv"]


@dataclass(frozen=True, slots=True)
class Contact:
    """One attempt and how it ended.

    `latency` in seconds; `reason` (a slug) and `words` (the peer's, `words.anonymous`) only of a failure.
    `instead_of`: the attempt was counted as a failure for that reason, and was none after all.
    `claimed`: `domain` is unproven, so it is counted under that name only if the store knows it already, or
    if `named`: the operator must see which domains are refused because they are unproven.
    `door`: by which it came, of what is inbound. A submission has no domain: it is of no peer.
    """

    domain: str
    road: Road
    ok: bool
    latency: float | None
    reason: str | None
    at: datetime
    words: str = ""
    instead_of: str | None = None
    claimed: bool = False
    named: bool = False
    door: Door = "smtp"


@dataclass(slots=True)
class Sum:
    """Attempts of one peer by one road, added up; `errors` are the last of the failures that have words."""

    attempts: int = 0
    successes: int = 0
    timed: int = 0
    seconds: float = 0.0
    last_contact: float = 0.0  # POSIX time
    buckets: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: list[Contact] = field(default_factory=list)

    def add(self, contact: Contact) -> None:
        """Add one."""
        self.attempts += contact.instead_of is None
        self.successes += contact.ok
        self.last_contact = max(self.last_contact, contact.at.timestamp())
        if contact.instead_of is not None:
            self.reasons[contact.instead_of] -= 1
        if contact.ok and contact.latency is not None:
            self.timed += 1
            self.seconds += contact.latency
            self.buckets[bucket(contact.latency)] += 1
        if not contact.ok:
            self.reasons[contact.reason or "unknown"] += 1
            if contact.road in ("https", "smtp"):
                self.errors.append(contact)


def sums(contacts: Iterable[Contact]) -> dict[tuple[str, str], Sum]:
    """By domain and road, sorted: so that two writers lock rows in the same order."""
    found: dict[tuple[str, str], Sum] = {}
    for contact in contacts:
        found.setdefault((contact.domain, contact.road), Sum()).add(contact)
    return dict(sorted(found.items()))
