"""Suspended addresses, which may not log in or send, and since which day.

Not a column of the accounts table: an address stays suspended when its account is deleted, so that another
login does not create the account again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from sqlalchemy import Engine, delete, select

from chatmail_milter.store.revision import change
from chatmail_milter.store.tables import suspensions
from chatmail_milter.store.upsert import insert_new


class Suspensions:
    """Access to the suspended addresses. When a method returns, all processes apply its change."""

    def __init__(self, engine: Engine, today: Callable[[], date] = date.today) -> None:
        self._engine = engine
        self._today = today

    def list(self) -> dict[str, date]:
        """The suspended canonical addresses, each with its day of suspension."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(suspensions).order_by(suspensions.c.address)).all()
        return {row.address: row.since for row in rows}

    def suspend(self, address: str) -> bool:
        """Suspends a canonical address; False if it was suspended already."""
        with change(self._engine) as connection:
            known = connection.execute(select(suspensions).where(suspensions.c.address == address)).first()
            insert_new(connection, suspensions, [{"address": address, "since": self._today()}])
        return known is None

    def suspend_all(self, since: dict[str, date]) -> None:
        """Suspends canonical addresses, each since the given day. Does not change existing suspensions."""
        with change(self._engine) as connection:
            rows = [{"address": address, "since": day} for address, day in since.items()]
            insert_new(connection, suspensions, rows)

    def resume(self, address: str) -> bool:
        """Ends a suspension; False if there was none."""
        with change(self._engine) as connection:
            which = suspensions.c.address == address
            return connection.execute(delete(suspensions).where(which)).rowcount > 0
