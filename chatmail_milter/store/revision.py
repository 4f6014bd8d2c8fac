"""How a change of policy is made, so that all processes on all hosts go by it when it is done.

Whoever goes by the policy holds a snapshot for as long as `lease.py` says, and reads a new one only where the
revision has changed. So each change counts the revision up in its own transaction, and then waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, Engine, select

from chatmail_milter.rules.federation import Rule
from chatmail_milter.store import lease
from chatmail_milter.store.tables import policy
from chatmail_milter.store.upsert import upsert

_ID = 1


@contextmanager
def change(engine: Engine, **columns: str) -> Iterator[Connection]:
    """A transaction that changes the policy, and `columns` of its row; in force when this returns."""
    with engine.begin() as connection:
        yield connection
        count_up(connection, **columns)
    lease.wait_for_caches_to_expire()


def count_up(connection: Connection, **columns: str) -> int:
    """Count the revision up, and set `columns`; the new one. Last in a transaction.

    The row is locked only from here to the commit, and revisions are committed in order.
    """
    upsert(connection, policy, {"id": _ID, "revision": 1, **columns}, add=("revision",))
    return current(connection).revision


@dataclass(frozen=True, slots=True)
class RevisionState:
    """The revision, and the federation rule in force."""

    revision: int
    rule: Rule


def current(connection: Connection) -> RevisionState:
    """What the row says."""
    row = connection.execute(_CURRENT).one_or_none()
    return (
        RevisionState(0, "open") if row is None else RevisionState(row.revision, cast(Rule, row.federation))
    )


_CURRENT = select(policy.c.revision, policy.c.federation).where(policy.c.id == _ID)
