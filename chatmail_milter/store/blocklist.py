"""The operator's blocklist in the store: entries, the day each was added, and a note.

Entries are canonical (`rules.blocklist.entry`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Engine, bindparam, delete, select, update

from chatmail_milter.store.revision import change
from chatmail_milter.store.tables import blocklist
from chatmail_milter.store.upsert import insert_new


@dataclass(frozen=True, slots=True)
class Block:
    """One entry, with the operator's note."""

    entry: str
    added: date
    note: str | None


class Blocks:
    """Access to the entries. When a method that changes them returns, all processes apply the change."""

    def __init__(self, engine: Engine, today: Callable[[], date] = date.today) -> None:
        self._engine = engine
        self._today = today

    def list(self) -> tuple[Block, ...]:
        """All entries, sorted."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(blocklist).order_by(blocklist.c.entry)).all()
        return tuple(Block(*row) for row in rows)

    def add(self, entries: Iterable[str], note: str | None = None) -> int:
        """Adds entries in one transaction. Returns how many are new. A `note` is set on known ones, too."""
        wanted = dict.fromkeys(entries)
        with change(self._engine) as connection:
            known = set(connection.execute(select(blocklist.c.entry)).scalars())
            new = [one for one in wanted if one not in known]
            added = self._today()
            insert_new(connection, blocklist, [{"entry": one, "added": added, "note": note} for one in new])
            noted = [{"old": one, "note": note} for one in wanted if one in known]
            if note is not None and noted:
                which = blocklist.c.entry == bindparam("old")
                connection.execute(update(blocklist).where(which), noted)
        return len(new)

    def remove(self, entries: Iterable[str]) -> int:
        """Removes entries. Returns how many there were."""
        removed = 0
        with change(self._engine) as connection:
            for one in dict.fromkeys(entries):
                removed += connection.execute(delete(blocklist).where(blocklist.c.entry == one)).rowcount
        return removed
