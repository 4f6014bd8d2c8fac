"""Which peers keep a relay process waiting so much that it makes no further attempts, for whoever looks.

The breaker itself is in the process's memory (`mxdeliv_app.relay.breaker`); this is its report, which ends by
itself when the process does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Engine, delete, func, select

from chatmail_milter.store.tables import breakers
from chatmail_milter.store.upsert import insert_new


class Breakers:
    """The reports, in the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def report(self, host: str, until: Mapping[str, datetime]) -> None:
        """Say which breakers are open on `host`, and until when at the latest; all others are not."""
        rows = [{"domain": one, "host": host, "until": end.timestamp()} for one, end in until.items()]
        with self._engine.begin() as connection:
            connection.execute(delete(breakers).where(breakers.c.host == host))
            insert_new(connection, breakers, rows)

    def open(self, now: datetime) -> dict[str, datetime]:
        """The domains whose breakers are open on some host, each with until when at the latest."""
        latest = select(breakers.c.domain, func.max(breakers.c.until)).group_by(breakers.c.domain)
        with self._engine.connect() as connection:
            return {
                domain: datetime.fromtimestamp(until, UTC)
                for domain, until in connection.execute(latest)
                if until > now.timestamp()
            }

    def open_until(self, domain: str, now: datetime) -> datetime | None:
        """Until when the breaker of `domain` is open on some host, at the latest; None if on none."""
        with self._engine.connect() as connection:
            latest = select(func.max(breakers.c.until)).where(breakers.c.domain == domain)
            until = connection.execute(latest).scalar_one()
        if until is None or until <= now.timestamp():
            return None
        return datetime.fromtimestamp(until, UTC)
