"""Accounts that may not log in or send until they are resumed, and since which day.

Apart from the accounts, for a store that an earlier version made has the accounts as they were then; and
so an address stays suspended though its account is deleted, and can't be had again by logging in once more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from sqlalchemy import Column, Date, Engine, String, Table, delete, select

from chatmail_milter.store.engine import metadata
from chatmail_milter.store.revision import change
from chatmail_milter.store.upsert import insert_new

suspensions = Table(
    "suspensions",
    metadata,
    Column("address", String(320), primary_key=True),
    Column("since", Date, nullable=False),
)


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
