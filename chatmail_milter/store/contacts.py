"""A delivery attempt to or from a peer, and sums of attempts, for the statistics in `peers` and `traffic`.

Latencies are in a histogram with fixed exponential buckets, to compute quantiles in bounded space. Bucket `n`
counts latencies above 2^((n-1)/4) and up to 2^(n/4) seconds: four buckets per doubling, each bound 19 % above
the previous one. A quantile is reported as the geometric middle of its bucket, so it is within 9.1 %
(2^(1/8) - 1) of the true value. The buckets never change: counts of several processes, hosts or days are
merged by addition.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

_PER_OCTAVE = 4
# 61 microseconds and 68 minutes; latencies beyond count in these buckets. At most 105 buckets.
LOWEST, HIGHEST = -14 * _PER_OCTAVE, 12 * _PER_OCTAVE


def bucket(seconds: float) -> int:
    """The number of a latency's bucket."""
    if seconds <= 2 ** (LOWEST / _PER_OCTAVE):
        return LOWEST
    return min(math.ceil(_PER_OCTAVE * math.log2(seconds)), HIGHEST)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The latency in seconds that `share` (above 0, up to 1) of the counted ones don't exceed.

    `counts`: by bucket. None without any. Uses the nearest rank, so it is a measured value, up to the width
    of its bucket.
    """
    rank = math.ceil(share * sum(counts.values()))
    seen = 0
    for number in sorted(counts):
        seen += counts[number]
        if counts[number] and seen >= rank:
            return float(2 ** ((number - 0.5) / _PER_OCTAVE))
    return None


Road = Literal["https", "smtp", "inbound", "submission"]
Door = Literal["smtp", "mxdeliv"]


@dataclass(frozen=True, slots=True)
class Contact:
    """One attempt and its result.

    `latency`: seconds. `reason` (a slug) and `words` (the peer's reply, after `sanitize.anonymous`): only for
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


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """Something else that is only counted, such as an answer of `/mxdeliv`. See `counters`.

    `kind`: one of `counters.KINDS`. `label`: a slug. `seconds`: how long it took, if that is known.
    """

    kind: str
    label: str
    seconds: float | None = None


@dataclass(slots=True)
class Sum:
    """Totals of one peer and one road. `errors`: failures of deliveries to the peer, for `peer_trouble`."""

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
