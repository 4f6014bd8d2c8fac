"""Push notifications: device tokens, which apps register for their phone, and the queue of tokens to notify.

An account has at most `MOST` tokens; each expires `lifetime` after the app last registered it, and all are
deleted with the account. Only the day of registration is kept. A token is a secret of the app and the push
gateway: never log one.

The queue has when to notify next, and the number of tries, in one row per token, however much mail arrives:
`mails` counts messages, so that one that arrives while a notification is being sent leads to another. `take`
leases a row for a limited time; if its process dies, the row is due again then. Nothing is stored about the
messages or their senders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from chatmail_milter.store.tables import device_tokens, notices
from chatmail_milter.store.upsert import insert_new, upsert

MOST = 16  # per account; the least recently registered one is evicted


def digest(token: str) -> str:
    """SHA-256 of a token, in hex: its key in the database."""
    return hashlib.sha256(token.encode()).hexdigest()


class DeviceTokens:
    """Access to the tokens. Methods raise `sqlalchemy.exc.SQLAlchemyError`."""

    def __init__(self, engine: Engine, lifetime: timedelta, today: Callable[[], date] = date.today) -> None:
        self._engine = engine
        self._lifetime = lifetime
        self._today = today

    def add(self, address: str, token: str) -> bool:
        """Registers a token, or renews it. False if there is no such account."""
        row = {"address": address, "digest": digest(token), "token": token, "given": self._today()}
        try:
            with self._engine.begin() as connection:
                upsert(connection, device_tokens, row)
                self._make_room(connection, address, row["digest"])
        except IntegrityError:
            return False
        return True

    def of(self, address: str) -> list[str]:
        """The unexpired tokens of an account, most recently registered first."""
        mine = select(device_tokens.c.token).where(
            device_tokens.c.address == address, device_tokens.c.given >= self._oldest()
        )
        newest_first = mine.order_by(device_tokens.c.given.desc(), device_tokens.c.digest)
        with self._engine.connect() as connection:
            return list(connection.execute(newest_first).scalars())

    def forget_all(self, address: str) -> None:
        """Deletes the tokens of an account."""
        with self._engine.begin() as connection:
            connection.execute(delete(device_tokens).where(device_tokens.c.address == address))

    def forget(self, digest: str) -> None:
        """Deletes a token from all accounts: the gateway reported that it is no longer valid."""
        with self._engine.begin() as connection:
            connection.execute(delete(device_tokens).where(device_tokens.c.digest == digest))

    def forget_old(self) -> int:
        """Deletes expired tokens; returns their number."""
        too_old = device_tokens.c.given < self._oldest()
        with self._engine.begin() as connection:
            return connection.execute(delete(device_tokens).where(too_old)).rowcount

    def _make_room(self, connection: Connection, address: str, newest: object) -> None:
        mine = device_tokens.c.address == address
        others = select(device_tokens.c.digest).where(mine, device_tokens.c.digest != newest)
        by_age = others.order_by(device_tokens.c.given.desc(), device_tokens.c.digest)
        too_many = connection.execute(by_age.offset(MOST - 1)).scalars().all()
        if too_many:
            connection.execute(delete(device_tokens).where(mine, device_tokens.c.digest.in_(too_many)))

    def _oldest(self) -> date:
        return self._today() - self._lifetime


# Built once, since it runs for each delivery and takes longer to build than to run.
_TOKENS = select(device_tokens.c.digest).where(
    device_tokens.c.address == bindparam("address"), device_tokens.c.given >= bindparam("oldest")
)


@dataclass(frozen=True, slots=True)
class Notice:
    """A leased row: a notification to send to `token`."""

    address: str
    digest: str
    token: str
    mails: int
    tries: int
    since: float


class Notices:
    """Access to the queue. All times are POSIX time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, address: str, now: float, oldest: date) -> int:
        """Queues new mail of `address`, due now, for its tokens since `oldest`; returns their number."""
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
        """Leases a due row until `until`, those with the fewest tries first; None if none is due."""
        columns = (notices, device_tokens.c.token)
        due = select(*columns).join(device_tokens).where(notices.c.due <= now)
        first = due.order_by(notices.c.tries, notices.c.due).limit(1)
        while True:
            with self._engine.begin() as connection:
                row = connection.execute(first).one_or_none()
                if row is None:
                    return None
                # Succeeds unless another process took it meanwhile.
                seen = _of(row.address, row.digest) & (notices.c.due == row.due)
                if connection.execute(update(notices).where(seen).values(due=until)).rowcount:
                    return Notice(row.address, row.digest, row.token, row.mails, row.tries, row.since)

    def settle(self, notice: Notice, now: float, again: float) -> None:
        """Completes a notification. If mail arrived meanwhile, the row stays, due at `again`."""
        mine = _of(notice.address, notice.digest)
        afresh = {"tries": 0, "since": now, "due": again}
        with self._engine.begin() as connection:
            told = mine & (notices.c.mails == notice.mails)
            if not connection.execute(delete(notices).where(told)).rowcount:
                connection.execute(update(notices).where(mine).values(afresh))

    def put_off(self, notice: Notice, due: float) -> None:
        """Records a failed try; the row is due again at `due`."""
        mine = _of(notice.address, notice.digest)
        with self._engine.begin() as connection:
            connection.execute(update(notices).where(mine).values(tries=notice.tries + 1, due=due))

    def next_due(self) -> float | None:
        """When the next row is due; None if there are none."""
        with self._engine.connect() as connection:
            due: float | None = connection.execute(select(func.min(notices.c.due))).scalar_one()
        return due

    def count(self) -> int:
        """The number of rows."""
        with self._engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(notices)).scalar_one()


def _of(address: str, digest: str) -> ColumnElement[bool]:
    return (notices.c.address == address) & (notices.c.digest == digest)
