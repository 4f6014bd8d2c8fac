"""How each peer was reached, counted per road: `https` and `smtp` are ours to them, `inbound` theirs to us.

An attempt is one try to hand over a message for one domain: one POST, one SMTP transaction. Latency is
measured by whoever makes the attempt, in seconds, and counts successes only. Failure reasons come from
closed lists of short slugs, so that rows stay few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Column, Engine, Float, Integer, String, Table, select

from chatmail_milter.store.engine import metadata
from chatmail_milter.store.upsert import upsert

Road = Literal["https", "smtp", "inbound"]

peers = Table(
    "peers",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("road", String(16), primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    Column("timed", Integer, nullable=False),  # successes whose latency is known
    Column("seconds", Float, nullable=False),  # their sum
    Column("last_contact", Float, nullable=False),  # POSIX time
)

peer_failures = Table(
    "peer_failures",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("road", String(16), primary_key=True),
    Column("reason", String(64), primary_key=True),
    Column("failures", Integer, nullable=False),
)

# How far a reader of a log has counted. In the same transaction as its counts: none lost, none twice.
peer_log_marks = Table(
    "peer_log_marks",
    metadata,
    Column("reader", String(255), primary_key=True),
    Column("mark", String(512), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Contact:
    """One attempt and how it ended. `latency` in seconds; `reason` only of a failure."""

    domain: str
    road: Road
    ok: bool
    latency: float | None
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class PeerRow:
    """What is known of one peer on one road. `mean_latency` in seconds, None before the first success."""

    domain: str
    road: str
    attempts: int
    successes: int
    failures: int
    mean_latency: float | None
    last_contact: datetime
    reasons: Mapping[str, int]


class Peers:
    """The counts, in the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(
        self, domain: str, road: Road, *, ok: bool, latency: float | None, reason: str | None, at: datetime
    ) -> None:
        """Count one attempt."""
        self.add([Contact(domain, road, ok, latency, reason, at)])

    def add(self, contacts: Iterable[Contact], *, reader: str | None = None, mark: str = "") -> None:
        """Count attempts; with `reader`, remember in that transaction how far its log is read."""
        with self._engine.begin() as connection:
            # Sorted, so that two writers lock rows in the same order.
            for contact in sorted(contacts, key=lambda one: (one.domain, one.road)):
                timed = contact.ok and contact.latency is not None
                row = {
                    "domain": contact.domain,
                    "road": contact.road,
                    "attempts": 1,
                    "successes": int(contact.ok),
                    "timed": int(timed),
                    "seconds": contact.latency if timed else 0.0,
                    "last_contact": contact.at.timestamp(),
                }
                upsert(connection, peers, row, add=("attempts", "successes", "timed", "seconds"))
                if not contact.ok:
                    failure = {
                        "domain": contact.domain,
                        "road": contact.road,
                        "reason": contact.reason or "unknown",
                        "failures": 1,
                    }
                    upsert(connection, peer_failures, failure, add=("failures",))
            if reader is not None:
                upsert(connection, peer_log_marks, {"reader": reader, "mark": mark})

    def mark(self, reader: str) -> str | None:
        """Up to where `reader` has counted, or None if it never did."""
        with self._engine.connect() as connection:
            found = connection.execute(select(peer_log_marks.c.mark).where(peer_log_marks.c.reader == reader))
            return found.scalar_one_or_none()

    def list(self) -> list[PeerRow]:
        """All peers, by domain and road."""
        with self._engine.connect() as connection:
            reasons: dict[tuple[str, str], dict[str, int]] = {}
            for failure in connection.execute(
                select(peer_failures).order_by(peer_failures.c.failures.desc())
            ):
                reasons.setdefault((failure.domain, failure.road), {})[failure.reason] = failure.failures
            rows = connection.execute(select(peers).order_by(peers.c.domain, peers.c.road)).all()
        return [
            PeerRow(
                domain=row.domain,
                road=row.road,
                attempts=row.attempts,
                successes=row.successes,
                failures=row.attempts - row.successes,
                mean_latency=row.seconds / row.timed if row.timed else None,
                last_contact=datetime.fromtimestamp(row.last_contact, UTC),
                reasons=reasons.get((row.domain, row.road), {}),
            )
            for row in rows
        ]
