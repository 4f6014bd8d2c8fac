"""Delivery statistics per peer domain and road: `https` and `smtp` are outgoing, `inbound` is incoming.

An attempt is one POST or one SMTP transaction for one domain. Latency is in seconds, of successes only.
Failure reasons are slugs from fixed lists, so there are few rows. `contacts` has the sums and the
quantiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    delete,
    exists,
    func,
    select,
)

from chatmail_milter.store import counters, peer_trouble, traffic
from chatmail_milter.store.contacts import Contact, CountedEvent, Sum, quantile, sums
from chatmail_milter.store.tables import peer_failures, peer_latencies, peer_log_marks, peers
from chatmail_milter.store.upsert import upsert, upsert_all

# Rows of peers without an attempt for this long are deleted.
FORGOTTEN_AFTER = timedelta(days=90)
# Most rows, of which the most recent are kept: one owner can have any number of subdomains, each with a DKIM
# key.
MOST = 20_000
# The same for domains that were never verified, which anybody can write into a message.
CLAIMED_FORGOTTEN_AFTER = timedelta(days=7)
MOST_CLAIMED = 500
# Stands for all domains that are neither verified nor known.
UNPROVEN = "(unproven)"

# Rows of unverified domains: no incoming message of theirs was ever accepted.
_CLAIMED = (peers.c.road == "inbound") & (peers.c.successes == 0) & (peers.c.domain != UNPROVEN)

_ADDED = ("attempts", "successes", "timed", "seconds")


@dataclass(frozen=True, slots=True)
class PeerRow:
    """Statistics of one peer on one road. Latencies in seconds, None before the first success."""

    domain: str
    road: str
    attempts: int
    successes: int
    failures: int
    mean_latency: float | None
    p50_latency: float | None
    p95_latency: float | None
    last_contact: datetime
    reasons: Mapping[str, int]


class Peers:
    """Access to the statistics."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self,
        contacts: Iterable[Contact],
        events: Iterable[CountedEvent] = (),
        *,
        reader: str | None = None,
        mark: str = "",
    ) -> None:
        """Adds attempts to the totals per peer and per hour, and attempts and events to the counters.

        `reader`, `mark`: name of a log reader and how far it has read, stored in the same transaction.
        """
        with self._engine.begin() as connection:
            vouched = _vouched(connection, list(contacts))
            _write(connection, sums(one for one in vouched if one.road != "submission"))
            traffic.write(connection, vouched, UNPROVEN)
            counters.write(connection, vouched, events)
            if reader is not None:
                upsert(connection, peer_log_marks, {"reader": reader, "mark": mark})

    def mark(self, reader: str) -> str | None:
        """The stored `mark` of a log reader; None if there is none."""
        with self._engine.connect() as connection:
            found = connection.execute(select(peer_log_marks.c.mark).where(peer_log_marks.c.reader == reader))
            return found.scalar_one_or_none()

    def list(self, domain: str | None = None) -> list[PeerRow]:
        """Statistics of all peers, or of one, sorted by domain and road."""
        with self._engine.connect() as connection:
            latencies: dict[tuple[str, str], dict[int, int]] = {}
            for row in connection.execute(select(peer_latencies).where(_of(peer_latencies, domain))):
                latencies.setdefault((row.domain, row.road), {})[row.bucket] = row.successes
            # In one statement: between two, other processes may add attempts, and the reasons would not add
            # up.
            why = (peers.c.domain == peer_failures.c.domain) & (peers.c.road == peer_failures.c.road)
            counted = (
                select(peers, peer_failures.c.reason, peer_failures.c.failures.label("of_reason"))
                .outerjoin(peer_failures, why & (peer_failures.c.failures > 0))
                .where(_of(peers, domain))
                .order_by(
                    peers.c.domain, peers.c.road, peer_failures.c.failures.desc(), peer_failures.c.reason
                )
            )
            found: dict[tuple[str, str], Row[Any]] = {}
            reasons: dict[tuple[str, str], dict[str, int]] = {}
            for row in connection.execute(counted):
                found[row.domain, row.road] = row
                if row.reason is not None:
                    reasons.setdefault((row.domain, row.road), {})[row.reason] = row.of_reason
        return [
            PeerRow(
                domain=row.domain,
                road=row.road,
                attempts=row.attempts,
                successes=row.successes,
                failures=row.attempts - row.successes,
                mean_latency=row.seconds / row.timed if row.timed else None,
                p50_latency=quantile(latencies.get((row.domain, row.road), {}), 0.5),
                p95_latency=quantile(latencies.get((row.domain, row.road), {}), 0.95),
                last_contact=datetime.fromtimestamp(row.last_contact, UTC),
                reasons=reasons.get((row.domain, row.road), {}),
            )
            for row in found.values()
        ]

    def forget_old(self, now: datetime, most: int = MOST) -> int:
        """Deletes rows older than `FORGOTTEN_AFTER`, and those beyond `most`; returns their number."""
        with self._engine.begin() as connection:
            since = (now - FORGOTTEN_AFTER).timestamp()
            latest = select(peers.c.last_contact).order_by(peers.c.last_contact.desc())
            beyond = connection.execute(latest.offset(most).limit(1)).scalar_one_or_none()
            old = peers.c.last_contact < since
            old |= _CLAIMED & (peers.c.last_contact < (now - CLAIMED_FORGOTTEN_AFTER).timestamp())
            if beyond is not None:
                old |= peers.c.last_contact <= beyond
            forgotten = connection.execute(delete(peers).where(old)).rowcount
            if forgotten:
                for table in (peer_failures, peer_latencies):
                    same = (peers.c.domain == table.c.domain) & (peers.c.road == table.c.road)
                    connection.execute(delete(table).where(~exists().where(same)))
            peer_trouble.forget_old(connection, now)
        return forgotten


def _vouched(connection: Connection, contacts: list[Contact]) -> list[Contact]:
    """The same contacts, with unverified domains that are not known replaced by `UNPROVEN`."""
    claims = {contact.domain for contact in contacts if contact.claimed}
    if not claims:
        return contacts
    known = select(peers.c.domain).where(peers.c.domain.in_(claims))
    proven = {contact.domain for contact in contacts if not contact.claimed}
    proven |= set(connection.execute(known.where(~_CLAIMED)).scalars())
    named = set(connection.execute(known.where(_CLAIMED)).scalars())
    room = MOST_CLAIMED - connection.execute(select(func.count()).where(_CLAIMED)).scalar_one()
    found = []
    for contact in contacts:
        if contact.claimed and contact.domain not in proven:
            if contact.named and contact.domain and contact.domain not in named and room > 0:
                named.add(contact.domain)
                room -= 1
            if not contact.named or contact.domain not in named:
                contact = replace(contact, domain=UNPROVEN)
        found.append(contact)
    return found


def _write(connection: Connection, totals: Mapping[tuple[str, str], Sum]) -> None:
    rows, failures, latencies = [], [], []
    for (domain, road), total in totals.items():
        peer = {"domain": domain, "road": road}
        figures = {name: getattr(total, name) for name in (*_ADDED, "last_contact")}
        rows.append(peer | figures)
        failures += [peer | {"reason": name, "failures": n} for name, n in sorted(total.reasons.items()) if n]
        latencies += [peer | {"bucket": at, "successes": n} for at, n in sorted(total.buckets.items())]
    upsert_all(connection, peers, rows, add=_ADDED)
    upsert_all(connection, peer_failures, failures, add=("failures",))
    upsert_all(connection, peer_latencies, latencies, add=("successes",))
    for (domain, road), total in totals.items():
        peer_trouble.remember(connection, domain, road, total.errors)


def _of(table: Table, domain: str | None) -> ColumnElement[bool]:
    return table.c.domain == domain if domain is not None else table.c.domain.is_not(None)
