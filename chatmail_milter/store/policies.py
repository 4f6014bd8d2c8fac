"""The operator's policy in the store: blocklist, federation, suspended addresses; and a cached snapshot.

Milter, hooks and relay read the snapshot, which is never older than `LEASE`. While it is valid, a lookup
costs a comparison of times. Then one row is read, and the policy only if the revision in that row has
changed. When a method that changes the policy returns, all processes apply the change (`revision.py`).

Each federation rule has its own list of exceptions. With a common list, changing the rule from open to closed
would admit exactly the domains that were blocked before. Suspensions are not a column of the accounts table:
an address stays suspended when its account is deleted, so that another login does not create the account
again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, Engine, bindparam, delete, select, update

from chatmail_milter.rules.blocklist import Blocklist
from chatmail_milter.rules.policy import OPEN, Federation, Policy, Rule
from chatmail_milter.store import revision
from chatmail_milter.store.revision import LEASE, change
from chatmail_milter.store.tables import blocklist, exceptions, suspensions
from chatmail_milter.store.upsert import insert_new


@dataclass(frozen=True, slots=True)
class PolicyState:
    """A policy, its revision, and the revisions at which sessions were ended (`revision.py`)."""

    policy: Policy
    revision: int
    ended: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _CachedState:
    """A snapshot, and its expiry (monotonic seconds)."""

    state: PolicyState
    until: float


class Policies:
    """Reads and caches the policy. Thread-safe."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._reading = threading.Lock()
        # The policy of an empty store, already expired.
        self._held = _CachedState(PolicyState(OPEN, 0, {}), float("-inf"))

    def held(self) -> Policy | None:
        """The cached policy; None if it has expired. Never blocks."""
        held = self._held
        return held.state.policy if self._clock() < held.until else None

    def current(self) -> Policy:
        """The present policy. Raises `sqlalchemy.exc.SQLAlchemyError`."""
        return self.state().policy

    def state(self) -> PolicyState:
        """The present policy with revisions. Raises `sqlalchemy.exc.SQLAlchemyError`."""
        held = self._held
        if self._clock() < held.until:
            return held.state
        with self._reading:
            # Another thread may have read it while this one waited for the lock.
            now, held = self._clock(), self._held
            if now >= held.until:
                held = self._held = _CachedState(self._read(held.state), now + LEASE)
            return held.state

    def _read(self, held: PolicyState) -> PolicyState:
        # The caller took the time before, and the revision is read first: a change meanwhile is read next
        # time.
        with self._engine.connect() as connection:
            found = revision.current(connection)
            if found.revision == held.revision:
                return held
            return PolicyState(
                _policy(connection, found.rule), found.revision, revision.ended_sessions(connection)
            )


def _policy(connection: Connection, rule: Rule) -> Policy:
    return Policy(
        Blocklist.of(connection.execute(select(blocklist.c.entry)).scalars()),
        Federation(rule, read_exceptions(connection, rule)),
        frozenset(connection.execute(select(suspensions.c.address)).scalars()),
    )


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
