"""Changes the policy so that all processes on all hosts apply it when the change returns.

Readers cache the policy for at most `LEASE` (`lease.py`) and read it anew only if its revision has changed.
So each change increments the revision in its transaction, and then waits until the caches have expired.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, Engine, select

from chatmail_milter.rules.policy import Rule
from chatmail_milter.store import lease
from chatmail_milter.store.tables import policy
from chatmail_milter.store.upsert import upsert

_ID = 1


@contextmanager
def change(engine: Engine, **columns: str) -> Iterator[Connection]:
    """A transaction that changes the policy. `columns`: new values in the policy row.

    When the context manager exits, all processes apply the change.
    """
    with engine.begin() as connection:
        yield connection
        count_up(connection, **columns)
    lease.wait_for_caches_to_expire()


def count_up(connection: Connection, **columns: str) -> int:
    """Increments the revision and sets `columns` of the policy row. Returns the new revision.

    Call it as the last statement of a transaction: the row is then locked only until the commit, and
    revisions become visible in order.
    """
    upsert(connection, policy, {"id": _ID, "revision": 1, **columns}, add=("revision",))
    return current(connection).revision


@dataclass(frozen=True, slots=True)
class RevisionState:
    """The revision, and the present federation rule."""

    revision: int
    rule: Rule


def current(connection: Connection) -> RevisionState:
    """Reads the policy row."""
    row = connection.execute(_CURRENT).one_or_none()
    return (
        RevisionState(0, "open") if row is None else RevisionState(row.revision, cast(Rule, row.federation))
    )


_CURRENT = select(policy.c.revision, policy.c.federation).where(policy.c.id == _ID)
