"""Device tokens: what an app gave us so that its phone can be told of new mail while it is not connected.

Several to an account, each for as long as `lifetime` after it was last given, and no more than `MOST`. The
account takes its tokens with it, whoever deletes it. Kept with the day, as logins are; a token itself is a
secret between the app and the gateway, and belongs in no log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date, timedelta

from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.exc import IntegrityError

from chatmail_milter.store.tables import device_tokens
from chatmail_milter.store.upsert import upsert

MOST = 16  # of one account; the one given longest ago makes room


def digest(token: str) -> str:
    """What stands for a token where it can't stand itself: SHA-256, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


class DeviceTokens:
    """The tokens in a store. `today` is asked for the day that one is given."""

    def __init__(self, engine: Engine, lifetime: timedelta, today: Callable[[], date] = date.today) -> None:
        self._engine = engine
        self._lifetime = lifetime
        self._today = today

    def add(self, address: str, token: str) -> bool:
        """Remember a token, or that it was given again. False if there is no such account."""
        row = {"address": address, "digest": digest(token), "token": token, "given": self._today()}
        try:
            with self._engine.begin() as connection:
                upsert(connection, device_tokens, row)
                self._make_room(connection, address, row["digest"])
        except IntegrityError:
            return False
        return True

    def of(self, address: str) -> list[str]:
        """The tokens of an account that are not too old, the one given last first."""
        mine = select(device_tokens.c.token).where(
            device_tokens.c.address == address, device_tokens.c.given >= self._oldest()
        )
        newest_first = mine.order_by(device_tokens.c.given.desc(), device_tokens.c.digest)
        with self._engine.connect() as connection:
            return list(connection.execute(newest_first).scalars())

    def forget_all(self, address: str) -> None:
        """Forget those of an account."""
        with self._engine.begin() as connection:
            connection.execute(delete(device_tokens).where(device_tokens.c.address == address))

    def forget(self, digest: str) -> None:
        """Forget a token, in whichever accounts: the gateway says that no device has it any more."""
        with self._engine.begin() as connection:
            connection.execute(delete(device_tokens).where(device_tokens.c.digest == digest))

    def forget_old(self) -> int:
        """Forget all that are too old; how many."""
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
