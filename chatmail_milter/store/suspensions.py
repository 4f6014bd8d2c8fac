"""Accounts that may not log in or send until they are resumed, and since which day.

Not a column of the accounts: an address stays suspended when its account is deleted, so that logging in once
more does not make the account anew.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from sqlalchemy import Engine, delete, select

from chatmail_milter.store.revision import change
from chatmail_milter.store.tables import suspensions
from chatmail_milter.store.upsert import insert_new


class Suspensions:
    """The suspended addresses in a store. A change is in force everywhere when it returns."""

    def __init__(self, engine: Engine, today: Callable[[], date] = date.today) -> None:
        self._engine = engine
        self._today = today

    def list(self) -> dict[str, date]:
        """Canonical addresses, each with the day it was suspended."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(suspensions).order_by(suspensions.c.address)).all()
        return {row.address: row.since for row in rows}

    def suspend(self, address: str) -> bool:
        """Suspend a canonical address; False if it is."""
        with change(self._engine) as connection:
            known = connection.execute(select(suspensions).where(suspensions.c.address == address)).first()
            insert_new(connection, suspensions, [{"address": address, "since": self._today()}])
        return known is None

    def suspend_all(self, since: dict[str, date]) -> None:
        """Suspend canonical addresses, each since a day of its own; those that are stay so."""
        with change(self._engine) as connection:
            rows = [{"address": address, "since": day} for address, day in since.items()]
            insert_new(connection, suspensions, rows)

    def resume(self, address: str) -> bool:
        """Let it log in and send again; False if it may."""
        with change(self._engine) as connection:
            which = suspensions.c.address == address
            return connection.execute(delete(suspensions).where(which)).rowcount > 0
