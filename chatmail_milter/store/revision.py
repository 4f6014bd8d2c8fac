"""Changes the policy so that all processes on all hosts apply it when the change returns.

Readers cache policy for at most `LEASE`, and read it anew only if its revision has changed. So each change
increments the revision in its transaction, and then waits until all caches have expired.

Running SMTP sessions of an account are ended by the same means when it is deleted or gets a new password:
Postfix checks the password only at the beginning of a session. The revision of that change is stored with a
pseudonym of the address, and a session that began at an earlier revision may not send. Revisions are
compared, not times, because the clock may be set. The day is stored too: after `LONGEST_SESSION` no such
session is left, and `forget_ended_sessions` deletes the row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import cast

from sqlalchemy import Connection, Engine, delete, select

from chatmail_milter.rules.policy import Rule
from chatmail_milter.store.tables import ended_logins, policy
from chatmail_milter.store.upsert import upsert

LEASE = 0.05  # seconds
# Seconds after its beginning for which a session may send. Apps use one for about a minute.
LONGEST_SESSION = 12 * 3600.0
# More than `LONGEST_SESSION`, and the difference of the hosts' time zones.
_ENDED_SESSIONS_KEPT = timedelta(days=2)
_ID = 1  # of the only row


def wait_for_caches_to_expire() -> None:
    """Sleeps until no process uses data that it read before this call."""
    # A duration, not a point in time, because the clocks of hosts may differ.
    time.sleep(LEASE)


@contextmanager
def change(engine: Engine, **columns: str) -> Iterator[Connection]:
    """A transaction that changes the policy. `columns`: new values in the policy row.

    When the context manager exits, all processes apply the change.
    """
    with engine.begin() as connection:
        yield connection
        count_up(connection, **columns)
    wait_for_caches_to_expire()


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


def end_sessions(connection: Connection, name: str, day: date) -> None:
    """Ends the sessions of the account with the pseudonym `name`, within `LEASE` after the commit.

    Call it as the last statement of the transaction, see `count_up`.
    """
    upsert(connection, ended_logins, {"name": name, "revision": count_up(connection), "day": day})


def ended_sessions(connection: Connection) -> dict[str, int]:
    """For each pseudonym, the revision at which its sessions were ended."""
    rows = connection.execute(select(ended_logins.c.name, ended_logins.c.revision))
    return {row.name: row.revision for row in rows}


def forget_ended_sessions(engine: Engine, today: date) -> int:
    """Deletes rows that no running session can be older than; returns their number."""
    with engine.begin() as connection:
        return connection.execute(
            delete(ended_logins).where(ended_logins.c.day < today - _ENDED_SESSIONS_KEPT)
        ).rowcount
