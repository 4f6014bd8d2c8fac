"""Logins that are over: of accounts that were deleted, or got another password, since a session began.

Postfix checks a password once in a session, which may then last. So who deletes an account or changes its
password counts the policy's revision up, and writes that down with a pseudonym of the address. A session that
began at an earlier revision may not send. Revisions are compared and not times: a clock may be set.

Of each only the day is kept, so that `forget_old` knows when no session is left that is so old (`LONGEST`).
"""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import Connection, Engine, delete, select

from chatmail_milter.store import revision
from chatmail_milter.store.tables import ended_logins
from chatmail_milter.store.upsert import upsert

# Seconds for which a session may send after it began; apps use one for a minute.
LONGEST = 12 * 3600.0
# A session, and hosts whose days begin at different times.
_KEPT = timedelta(days=2)


def end(connection: Connection, name: str, day: date) -> None:
    """End the sessions of the account with the pseudonym `name`, from `LEASE` after the commit on.

    The last statement of its transaction, as in `revision.change`.
    """
    upsert(connection, ended_logins, {"name": name, "revision": revision.count_up(connection), "day": day})


def read(connection: Connection) -> dict[str, int]:
    """The revision at which the sessions of each pseudonym ended."""
    rows = connection.execute(select(ended_logins.c.name, ended_logins.c.revision))
    return {row.name: row.revision for row in rows}


def forget_old(engine: Engine, today: date) -> int:
    """Forget those of which no session can be left; how many."""
    with engine.begin() as connection:
        return connection.execute(delete(ended_logins).where(ended_logins.c.day < today - _KEPT)).rowcount
