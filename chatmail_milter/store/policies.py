"""The policy for those who go by it (milter, hooks, relay): a snapshot, never older than `LEASE`.

A question costs a comparison while the snapshot is held, then one row read of the store; all is read anew
only where the revision in that row has changed. Who changes the policy waits for `LEASE` (`lease.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select

from chatmail_milter.rules.blocklist import Blocklist
from chatmail_milter.rules.federation import Federation, Rule
from chatmail_milter.rules.policy import OPEN, Policy
from chatmail_milter.store import revision
from chatmail_milter.store.blocklist import blocklist
from chatmail_milter.store.federation import read_exceptions
from chatmail_milter.store.lease import LEASE
from chatmail_milter.store.suspensions import suspensions


@dataclass(frozen=True, slots=True)
class _Held:
    """A snapshot, the revision that it is of, and the time after which it may not be used."""

    policy: Policy
    revision: int
    until: float


class Policies:
    """The policy in a store. One object serves all threads of a process."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._reading = threading.Lock()
        # Of a store in which nothing was ever decided; not held for any time.
        self._held = _Held(OPEN, 0, float("-inf"))

    def held(self) -> Policy | None:
        """The policy in force where it is at hand; None where it has to be read. Never blocks."""
        held = self._held
        return held.policy if self._clock() < held.until else None

    def current(self) -> Policy:
        """The policy in force. Raises `sqlalchemy.exc.SQLAlchemyError` if the store can't be read."""
        policy = self.held()
        if policy is not None:
            return policy
        with self._reading:
            # Whoever waited here may find that another has read meanwhile.
            now, held = self._clock(), self._held
            if now >= held.until:
                held = self._held = self._read(held, now + LEASE)
            return held.policy

    def _read(self, held: _Held, until: float) -> _Held:
        # The time was taken before, and the revision is read first: what changes meanwhile is read next time.
        with self._engine.connect() as connection:
            state = revision.current(connection)
            same = state.revision == held.revision
            policy = held.policy if same else _policy(connection, state.rule)
        return _Held(policy, state.revision, until)


def _policy(connection: Connection, rule: Rule) -> Policy:
    return Policy(
        Blocklist.of(connection.execute(select(blocklist.c.entry)).scalars()),
        Federation(rule, read_exceptions(connection, rule)),
        frozenset(connection.execute(select(suspensions.c.address)).scalars()),
    )
