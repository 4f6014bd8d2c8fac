"""Notices: which device tokens are still to be told of new mail, when next, and how often it was tried.

One for each token, however much mail comes: `mails` counts it, so that mail that comes while a notice is on
its way is not taken for told. Who takes one has it for a while only; whatever becomes of the taker, it is due
again then. Nothing here says what came, or from whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import (
    ColumnElement,
    Engine,
    bindparam,
    delete,
    func,
    select,
    update,
)

from chatmail_milter.store.tables import device_tokens, notices
from chatmail_milter.store.upsert import insert_new

# Read for each delivery: to make the statement takes longer than to run it.
_TOKENS = select(device_tokens.c.digest).where(
    device_tokens.c.address == bindparam("address"), device_tokens.c.given >= bindparam("oldest")
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One that was taken, to be told to `token`."""

    address: str
    digest: str
    token: str
    mails: int
    tries: int
    since: float


class Notices:
    """The notices in a store; `now` is POSIX time throughout."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, address: str, now: float, oldest: date) -> int:
        """New mail for `address`: due at once for each token given since `oldest`. How many tokens."""
        with self._engine.begin() as connection:
            digests = connection.execute(_TOKENS, {"address": address, "oldest": oldest}).scalars().all()
            if not digests:
                return 0
            begun = {"address": address, "mails": 0, "tries": 0, "since": now, "due": now}
            insert_new(connection, notices, [begun | {"digest": one} for one in digests])
            told = (notices.c.address == address) & notices.c.digest.in_(digests)
            connection.execute(update(notices).where(told).values(mails=notices.c.mails + 1))
        return len(digests)

    def take(self, now: float, until: float) -> Notice | None:
        """One that is due, which nobody else gets before `until`; those tried least come first."""
        columns = (notices, device_tokens.c.token)
        due = select(*columns).join(device_tokens).where(notices.c.due <= now)
        first = due.order_by(notices.c.tries, notices.c.due).limit(1)
        while True:
            with self._engine.begin() as connection:
                row = connection.execute(first).one_or_none()
                if row is None:
                    return None
                # Unless somebody else took it meanwhile.
                seen = _of(row.address, row.digest) & (notices.c.due == row.due)
                if connection.execute(update(notices).where(seen).values(due=until)).rowcount:
                    return Notice(row.address, row.digest, row.token, row.mails, row.tries, row.since)

    def settle(self, notice: Notice, now: float, again: float) -> None:
        """It was told, or need not be; mail that came meanwhile is due at `again`."""
        mine = _of(notice.address, notice.digest)
        afresh = {"tries": 0, "since": now, "due": again}
        with self._engine.begin() as connection:
            told = mine & (notices.c.mails == notice.mails)
            if not connection.execute(delete(notices).where(told)).rowcount:
                connection.execute(update(notices).where(mine).values(afresh))

    def put_off(self, notice: Notice, due: float) -> None:
        """It could not be told; try again at `due`."""
        mine = _of(notice.address, notice.digest)
        with self._engine.begin() as connection:
            connection.execute(update(notices).where(mine).values(tries=notice.tries + 1, due=due))

    def next_due(self) -> float | None:
        """When the next one is due; None if there are none."""
        with self._engine.connect() as connection:
            due: float | None = connection.execute(select(func.min(notices.c.due))).scalar_one()
        return due

    def count(self) -> int:
        """How many there are."""
        with self._engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(notices)).scalar_one()


def _of(address: str, digest: str) -> ColumnElement[bool]:
    return (notices.c.address == address) & (notices.c.digest == digest)
