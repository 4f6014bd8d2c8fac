"""Reports of open circuit breakers: peers that a relay process makes no further attempts to, for operators.

The breaker is in the process's memory (`mxdeliv_app.relay.breaker`). A report has an expiry time, so it also
ends when the process does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Engine, delete, func, select

from chatmail_milter.store.tables import breakers
from chatmail_milter.store.upsert import insert_new


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
