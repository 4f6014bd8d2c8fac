"""With whom this relay exchanges mail: the rule, and its exceptions.

Each rule has exceptions of its own: were there one list, closing the federation would let in just those whom
the open one kept out.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Engine, delete, select

from chatmail_milter.rules.federation import Federation, Rule
from chatmail_milter.store import revision
from chatmail_milter.store.revision import change
from chatmail_milter.store.tables import exceptions
from chatmail_milter.store.upsert import insert_new


class Federations:
    """The rule in force and its exceptions, in the store. A change is in force everywhere when it returns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self) -> Federation:
        """What is in force."""
        with self._engine.connect() as connection:
            rule = revision.current(connection).rule
            return Federation(rule, read_exceptions(connection, rule))

    def set_rule(self, rule: Rule) -> Federation:
        """Put `rule` in force, with the exceptions that were made from it; both are given back."""
        with change(self._engine, federation=rule):
            pass
        return self.get()

    def add(self, domains: Iterable[str]) -> int:
        """Make exceptions (canonical domains) from the rule in force; how many are new."""
        with change(self._engine) as connection:
            rule = revision.current(connection).rule
            known = read_exceptions(connection, rule)
            new = [one for one in dict.fromkeys(domains) if one not in known]
            insert_new(connection, exceptions, [{"rule": rule, "domain": one} for one in new])
        return len(new)

    def remove(self, domains: Iterable[str]) -> int:
        """Take exceptions from the rule in force back; how many there were."""
        removed = 0
        with change(self._engine) as connection:
            mine = exceptions.c.rule == revision.current(connection).rule
            for one in dict.fromkeys(domains):
                which = mine & (exceptions.c.domain == one)
                removed += connection.execute(delete(exceptions).where(which)).rowcount
        return removed


def read_exceptions(connection: Connection, rule: Rule) -> frozenset[str]:
    """The exceptions from `rule`."""
    found = connection.execute(select(exceptions.c.domain).where(exceptions.c.rule == rule))
    return frozenset(found.scalars())
