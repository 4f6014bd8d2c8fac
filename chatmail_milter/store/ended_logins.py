"""Ends running SMTP sessions of accounts that were deleted or got a new password.

Postfix checks the password only at the beginning of a session. So deleting an account or changing its
password increments the policy revision, and stores that revision with a pseudonym of the address. A session
that began at an earlier revision may not send. Revisions are compared, not times, because the clock may be
set.

The day is stored too: after `LONGEST` no such session is left, and `forget_old` deletes the row.
"""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import Connection, Engine, delete, select

from chatmail_milter.store import revision
from chatmail_milter.store.tables import ended_logins
from chatmail_milter.store.upsert import upsert

# Seconds after its beginning for which a session may send. Apps use one for about a minute.
LONGEST = 12 * 3600.0
# More than `LONGEST`, and the difference of the hosts' time zones.
_KEPT = timedelta(days=2)


def end(connection: Connection, name: str, day: date) -> None:
    """Ends the sessions of the account with the pseudonym `name`, within `LEASE` after the commit.

    Call it as the last statement of the transaction, see `revision.count_up`.
    """
    upsert(connection, ended_logins, {"name": name, "revision": revision.count_up(connection), "day": day})


def read(connection: Connection) -> dict[str, int]:
    """For each pseudonym, the revision at which its sessions were ended."""
    rows = connection.execute(select(ended_logins.c.name, ended_logins.c.revision))
    return {row.name: row.revision for row in rows}


def forget_old(engine: Engine, today: date) -> int:
    """Deletes rows that no running session can be older than; returns their number."""
    with engine.begin() as connection:
        return connection.execute(delete(ended_logins).where(ended_logins.c.day < today - _KEPT)).rowcount
