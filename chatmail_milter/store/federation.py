"""The federation policy in the store: the rule (open or closed), and exceptions from it.

Each rule has its own list of exceptions. With a common list, changing the rule from open to closed would
admit exactly the domains that were blocked before.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Engine, delete, select

from chatmail_milter.rules.policy import Federation, Rule
from chatmail_milter.store import revision
from chatmail_milter.store.revision import change
from chatmail_milter.store.tables import exceptions
from chatmail_milter.store.upsert import insert_new


class Federations:
    """Access to the policy. When a method that changes it returns, all processes apply the change."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self) -> Federation:
        """The present policy."""
        with self._engine.connect() as connection:
            rule = revision.current(connection).rule
            return Federation(rule, read_exceptions(connection, rule))

    def set_rule(self, rule: Rule) -> Federation:
        """Changes the rule. Its earlier exceptions apply again. Returns the new policy."""
        with change(self._engine, federation=rule):
            pass
        return self.get()

    def add(self, domains: Iterable[str]) -> int:
        """Adds exceptions (canonical domains) to the present rule. Returns how many are new."""
        with change(self._engine) as connection:
            rule = revision.current(connection).rule
            known = read_exceptions(connection, rule)
            new = [one for one in dict.fromkeys(domains) if one not in known]
            insert_new(connection, exceptions, [{"rule": rule, "domain": one} for one in new])
        return len(new)

    def remove(self, domains: Iterable[str]) -> int:
        """Removes exceptions from the present rule. Returns how many there were."""
        removed = 0
        with change(self._engine) as connection:
            mine = exceptions.c.rule == revision.current(connection).rule
            for one in dict.fromkeys(domains):
                which = mine & (exceptions.c.domain == one)
                removed += connection.execute(delete(exceptions).where(which)).rowcount
        return removed


def read_exceptions(connection: Connection, rule: Rule) -> frozenset[str]:
    """The exceptions of `rule`."""
    found = connection.execute(select(exceptions.c.domain).where(exceptions.c.rule == rule))
    return frozenset(found.scalars())
