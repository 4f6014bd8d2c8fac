"""The policy for those who go by it (milter, hooks, relay): a snapshot, never older than `LEASE`.

A question costs a comparison while the snapshot is held, then one row read of the store; all is read anew
only where the revision in that row has changed. Who changes the policy waits for `LEASE` (`lease.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select

from chatmail_milter.rules.blocklist import Blocklist
from chatmail_milter.rules.federation import Federation, Rule
from chatmail_milter.rules.policy import OPEN, Policy
from chatmail_milter.store import ended_logins, revision
from chatmail_milter.store.federation import read_exceptions
from chatmail_milter.store.lease import LEASE
from chatmail_milter.store.tables import blocklist, suspensions


@dataclass(frozen=True, slots=True)
class PolicyState:
    """A policy, the revision that it is of, and the logins that are over (`ended_logins.py`)."""

    policy: Policy
    revision: int
    ended: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _CachedState:
    """A snapshot, and the time after which it may not be used."""

    state: PolicyState
    until: float


class Policies:
    """The policy in a store. One object serves all threads of a process."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._reading = threading.Lock()
        # Of a store in which nothing was ever decided; not held for any time.
        self._held = _CachedState(PolicyState(OPEN, 0, {}), float("-inf"))

    def held(self) -> Policy | None:
        """The policy in force where it is at hand; None where it has to be read. Never blocks."""
        held = self._held
        return held.state.policy if self._clock() < held.until else None

    def current(self) -> Policy:
        """The policy in force. Raises `sqlalchemy.exc.SQLAlchemyError` if the store can't be read."""
        return self.state().policy

    def state(self) -> PolicyState:
        """All that is in force. Raises `sqlalchemy.exc.SQLAlchemyError` if the store can't be read."""
        held = self._held
        if self._clock() < held.until:
            return held.state
        with self._reading:
            # Whoever waited here may find that another has read meanwhile.
            now, held = self._clock(), self._held
            if now >= held.until:
                held = self._held = _CachedState(self._read(held.state), now + LEASE)
            return held.state

    def _read(self, held: PolicyState) -> PolicyState:
        # The time was taken before, and the revision is read first: what changes meanwhile is read next time.
        with self._engine.connect() as connection:
            found = revision.current(connection)
            if found.revision == held.revision:
                return held
            return PolicyState(_policy(connection, found.rule), found.revision, ended_logins.read(connection))


def _policy(connection: Connection, rule: Rule) -> Policy:
    return Policy(
        Blocklist.of(connection.execute(select(blocklist.c.entry)).scalars()),
        Federation(rule, read_exceptions(connection, rule)),
        frozenset(connection.execute(select(suspensions.c.address)).scalars()),
    )
