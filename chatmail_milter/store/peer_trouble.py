"""Present trouble with peers, for operators: the latest delivery failures, and open circuit breakers.

The failures per peer and road, with the peer's reply text, are kept no longer than the journal keeps the same
lines, and only a few. The caller has removed addresses from the texts (`sanitize.anonymous`).

A breaker is in the memory of a relay process (`mxdeliv_app.relay.breaker`), which makes no further attempts
to the peer. Its report here has an expiry time, so it also ends when the process does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, delete, func, select

from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.sanitize import LONGEST
from chatmail_milter.store.tables import breakers, peer_errors
from chatmail_milter.store.upsert import insert_new

KEPT = 5  # per peer and road
KEPT_FOR = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class PeerError:
    """One failure. `words`: the peer's reply text, empty without a reply."""

    road: str
    at: datetime
    reason: str
    words: str


def remember(connection: Connection, domain: str, road: str, failed: Sequence[Contact]) -> None:
    """Stores the last of `failed` (sorted by time), and deletes all but the latest `KEPT`."""
    rows = [
        {
            "domain": domain,
            "road": road,
            "at": one.at.timestamp(),
            "reason": one.reason or "unknown",
            "words": one.words[:LONGEST],
        }
        for one in failed[-KEPT:]
    ]
    if not rows:
        return
    connection.execute(peer_errors.insert(), rows)
    mine = (peer_errors.c.domain == domain) & (peer_errors.c.road == road)
    last = select(peer_errors.c.number).where(mine).order_by(peer_errors.c.number.desc()).limit(KEPT)
    kept = connection.execute(last).scalars().all()
    connection.execute(delete(peer_errors).where(mine, peer_errors.c.number < min(kept)))


def last_errors(engine: Engine, domain: str, now: datetime) -> list[PeerError]:
    """The stored failures of `domain`, latest first."""
    since = (now - KEPT_FOR).timestamp()
    mine = select(peer_errors).where(peer_errors.c.domain == domain, peer_errors.c.at >= since)
    latest = mine.order_by(peer_errors.c.at.desc(), peer_errors.c.number.desc())
    with engine.connect() as connection:
        return [
            PeerError(row.road, datetime.fromtimestamp(row.at, UTC), row.reason, row.words)
            for row in connection.execute(latest)
        ]


def last_of_all(engine: Engine, now: datetime) -> dict[tuple[str, str], PeerError]:
    """The latest failure per (domain, road)."""
    last = select(func.max(peer_errors.c.number)).group_by(peer_errors.c.domain, peer_errors.c.road)
    recent = peer_errors.c.at >= (now - KEPT_FOR).timestamp()
    with engine.connect() as connection:
        return {
            (row.domain, row.road): PeerError(
                row.road, datetime.fromtimestamp(row.at, UTC), row.reason, row.words
            )
            for row in connection.execute(select(peer_errors).where(recent, peer_errors.c.number.in_(last)))
        }


def forget_old(connection: Connection, now: datetime) -> None:
    """Deletes failures older than `KEPT_FOR`."""
    connection.execute(delete(peer_errors).where(peer_errors.c.at < (now - KEPT_FOR).timestamp()))


class Breakers:
    """Access to the reports."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def report(self, host: str, until: Mapping[str, datetime]) -> None:
        """Replaces the report of `host`: domains with open breakers, and when each closes at the latest."""
        rows = [{"domain": one, "host": host, "until": end.timestamp()} for one, end in until.items()]
        with self._engine.begin() as connection:
            connection.execute(delete(breakers).where(breakers.c.host == host))
            insert_new(connection, breakers, rows)

    def open(self, now: datetime) -> dict[str, datetime]:
        """The domains with an open breaker on any host, each with the latest time until which it is open."""
        latest = select(breakers.c.domain, func.max(breakers.c.until)).group_by(breakers.c.domain)
        with self._engine.connect() as connection:
            return {
                domain: datetime.fromtimestamp(until, UTC)
                for domain, until in connection.execute(latest)
                if until > now.timestamp()
            }

    def open_until(self, domain: str, now: datetime) -> datetime | None:
        """The latest time until which a host's breaker of `domain` is open; None if none is."""
        with self._engine.connect() as connection:
            latest = select(func.max(breakers.c.until)).where(breakers.c.domain == domain)
            until = connection.execute(latest).scalar_one()
        if until is None or until <= now.timestamp():
            return None
        return datetime.fromtimestamp(until, UTC)
