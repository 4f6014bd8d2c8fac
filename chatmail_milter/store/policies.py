"""A cached snapshot of the policy for milter, hooks and relay, never older than `LEASE`.

While the snapshot is valid, a lookup costs a comparison of times. Then one row is read, and the policy only
if the revision in that row has changed. Writers of the policy wait for `LEASE` (`revision.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select

from chatmail_milter.rules.blocklist import Blocklist
from chatmail_milter.rules.policy import OPEN, Federation, Policy, Rule
from chatmail_milter.store import revision
from chatmail_milter.store.federation import read_exceptions
from chatmail_milter.store.revision import LEASE
from chatmail_milter.store.tables import blocklist, suspensions


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
