"""Reserved names: addresses of deleted accounts, which can't be registered for a time.

Mail for the former owner may still arrive. Stores only a pseudonym of the address (`pseudonyms.py`), under a
separate key, and the time of the deletion. Only programs that create or delete accounts can read the key, and
the milter, for the pseudonyms in `revision.py`. `accounts.py` reserves the name in the transaction that
deletes an account, and checks it in the transaction that creates one.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, select, true

from chatmail_milter.store import fault
from chatmail_milter.store.pseudonyms import pseudonym, read_key
from chatmail_milter.store.tables import reserved_names
from chatmail_milter.store.upsert import upsert

KEY_FILE = Path("/etc/chatmail/names.key")
_DAY = 86400.0


class NameReservedError(Exception):
    """The address belonged to a deleted account and is still reserved."""


class ReservedNames:
    """Access to the reserved names.

    `seconds`: how long they stay reserved; by default for ever; 0: not at all. `now`: POSIX time. The key is
    read when first needed; methods raise `fault.StoreError` if it is missing.
    """

    def __init__(self, seconds: float = math.inf, now: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._now = now
        self._key: bytes | None = None

    def reserve(self, connection: Connection, address: str) -> None:
        """Reserves a canonical address, whose account is deleted in the same transaction."""
        if not self._seconds:
            return
        gone = self._now()
        if self._seconds >= _DAY:
            # Rounded up to the end of the day: the store keeps no exact times of users.
            gone = math.ceil(gone / _DAY) * _DAY
        upsert(connection, reserved_names, {"name": self.pseudonym(address), "gone": gone})

    def reserved(self, connection: Connection, addresses: Collection[str]) -> set[str]:
        """Those of the canonical `addresses` that are reserved."""
        if not self._seconds or not self._any(connection):
            return set()
        by_name = {self.pseudonym(one): one for one in addresses}
        wanted = reserved_names.c.name.in_(by_name)
        found = connection.execute(select(reserved_names).where(wanted)).all()
        return {by_name[row.name] for row in found if row.gone + self._seconds > self._now()}

    def release(self, connection: Connection, addresses: Collection[str]) -> None:
        """Ends the reservation of canonical addresses."""
        if addresses and self._any(connection):
            these = [self.pseudonym(one) for one in addresses]
            connection.execute(delete(reserved_names).where(reserved_names.c.name.in_(these)))

    def release_due(self, engine: Engine) -> int:
        """Deletes expired reservations; returns their number."""
        if math.isinf(self._seconds):
            return 0
        due = reserved_names.c.gone <= self._now() - self._seconds
        with engine.begin() as connection:
            return connection.execute(delete(reserved_names).where(due if self._seconds else true())).rowcount

    def _any(self, connection: Connection) -> bool:
        """Whether any name is reserved. If not, the key is not needed."""
        return connection.execute(select(reserved_names.c.gone).limit(1)).first() is not None

    def pseudonym(self, address: str) -> str:
        """The pseudonym of a canonical address. Raises `fault.StoreError` without a key."""
        if self._key is None:
            try:
                self._key = read_key(key_file())
            except (OSError, ValueError) as error:
                # No temporary key instead: other processes would not recognise its pseudonyms.
                raise fault.missing_key(key_file(), type(error).__name__) from None
        return pseudonym(self._key, address)


def key_file() -> Path:
    """The file of the key: `$CHATMAIL_NAMES_KEY`, else `KEY_FILE`."""
    return Path(os.environ.get("CHATMAIL_NAMES_KEY", KEY_FILE))
