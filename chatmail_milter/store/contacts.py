"""A delivery attempt to or from a peer, and sums of attempts, for the statistics in `peers` and `traffic`."""

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
    """One attempt and its result.

    `latency`: seconds. `reason` (a slug) and `words` (the peer's reply, through `words.anonymous`): only for
    failures. `instead_of`: the attempt was counted before, as a failure with this reason; this corrects it.
    `claimed`: the sender's domain is not verified, so the attempt counts for `domain` only if the store knows
    that domain already, or if `named`, so that operators see which domains are refused for being unverified.
    `door`: the protocol, for incoming mail. `domain`: empty for submissions, which have no peer.
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
    """Totals of one peer and one road. `errors`: the failures of deliveries to the peer, for `errors.py`."""

    attempts: int = 0
    successes: int = 0
    timed: int = 0
    seconds: float = 0.0
    last_contact: float = 0.0  # POSIX time
    buckets: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: list[Contact] = field(default_factory=list)

    def add(self, contact: Contact) -> None:
        """Adds one attempt."""
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
    """Totals by (domain, road), sorted, so that concurrent writers lock rows in the same order."""
    found: dict[tuple[str, str], Sum] = {}
    for contact in contacts:
        found.setdefault((contact.domain, contact.road), Sum()).add(contact)
    return dict(sorted(found.items()))
