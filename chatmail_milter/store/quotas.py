"""Accounts that may hold more or less than the others: octets by address.

Apart from the accounts, as most have none of their own: those are told nothing, and Dovecot's is in force.
The account takes its quota with it, whoever deletes it.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import IntegrityError

from chatmail_milter.store.tables import quotas
from chatmail_milter.store.upsert import insert_new, upsert


class Quotas:
    """Who has a quota of their own, in a store. Dovecot asks anew for each delivery and session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, address: str) -> int | None:
        """Octets that a canonical address may hold; None if as much as the others."""
        with self._engine.connect() as connection:
            return connection.execute(
                select(quotas.c.octets).where(quotas.c.address == address)
            ).scalar_one_or_none()

    def set(self, address: str, octets: int) -> bool:
        """Let it hold that many. False if there is no such account."""
        try:
            with self._engine.begin() as connection:
                upsert(connection, quotas, {"address": address, "octets": octets})
        except IntegrityError:
            return False
        return True

    def list(self) -> dict[str, int]:
        """Octets by address, of those who have a quota of their own."""
        with self._engine.connect() as connection:
            return {row.address: row.octets for row in connection.execute(select(quotas))}

    def set_all(self, octets: Mapping[str, int]) -> None:
        """Let several accounts hold so many each; those that have a quota of their own keep that."""
        rows = [{"address": address, "octets": some} for address, some in octets.items()]
        with self._engine.begin() as connection:
            insert_new(connection, quotas, rows)

    def unset(self, address: str) -> None:
        """Let it hold what the others do."""
        with self._engine.begin() as connection:
            connection.execute(delete(quotas).where(quotas.c.address == address))
