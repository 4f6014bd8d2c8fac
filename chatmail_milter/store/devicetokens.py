"""Device tokens, which apps register for push notifications to their phone.

An account has at most `MOST`; each expires `lifetime` after the app last registered it, and all are deleted
with the account. Only the day of registration is kept. A token is a secret of the app and the push gateway:
never log one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date, timedelta

from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.exc import IntegrityError

from chatmail_milter.store.tables import device_tokens
from chatmail_milter.store.upsert import upsert

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
