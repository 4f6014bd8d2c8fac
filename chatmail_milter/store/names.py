"""Reserved names: those of former accounts, not given out for a time, as people still write to the old owner.

Deletion removes everything else, so the store keeps a pseudonym of the name (`pseudonyms.py`), under a key of
its own, and the time of the deletion. Only the programs that need that key can read it: those that make or
delete accounts, and the milter, for the pseudonyms of `ended_logins.py`.
`accounts.py` reserves the name in the transaction that deletes the account, and looks for it in the one that
makes an account, whoever asks for either.
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
    """A former account's name, which is not given out yet."""


class ReservedNames:
    """The reserved names in a store, for `seconds` after the deletion; for good if left out; 0: none is.

    `now` is POSIX time. The key is read when it is needed; all raise `fault.StoreError` where there is none.
    """

    def __init__(self, seconds: float = math.inf, now: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._now = now
        self._key: bytes | None = None

    def reserve(self, connection: Connection, address: str) -> None:
        """Reserve the name of a canonical address, whose account is deleted in the same transaction."""
        if not self._seconds:
            return
        gone = self._now()
        if self._seconds >= _DAY:
            # The store remembers days of its users, and no times: the end of this one.
            gone = math.ceil(gone / _DAY) * _DAY
        upsert(connection, reserved_names, {"name": self.pseudonym(address), "gone": gone})

    def reserved(self, connection: Connection, addresses: Collection[str]) -> set[str]:
        """Those of some canonical addresses that were an account's that is gone, and nobody may have yet."""
        if not self._seconds or not self._any(connection):
            return set()
        by_name = {self.pseudonym(one): one for one in addresses}
        wanted = reserved_names.c.name.in_(by_name)
        found = connection.execute(select(reserved_names).where(wanted)).all()
        return {by_name[row.name] for row in found if row.gone + self._seconds > self._now()}

    def release(self, connection: Connection, addresses: Collection[str]) -> None:
        """Let canonical addresses be had again."""
        if addresses and self._any(connection):
            these = [self.pseudonym(one) for one in addresses]
            connection.execute(delete(reserved_names).where(reserved_names.c.name.in_(these)))

    def release_due(self, engine: Engine) -> int:
        """Release the names whose time is over; how many."""
        if math.isinf(self._seconds):
            return 0
        due = reserved_names.c.gone <= self._now() - self._seconds
        with engine.begin() as connection:
            return connection.execute(delete(reserved_names).where(due if self._seconds else true())).rowcount

    def _any(self, connection: Connection) -> bool:
        """Whether any name is; where none is, no key is needed."""
        return connection.execute(select(reserved_names.c.gone).limit(1)).first() is not None

    def pseudonym(self, address: str) -> str:
        """What stands in the store for a canonical address that was an account's, or is."""
        if self._key is None:
            try:
                self._key = read_key(key_file())
            except (OSError, ValueError) as error:
                # With a key made up here, another process would give the names out.
                raise fault.missing_key(key_file(), type(error).__name__) from None
        return pseudonym(self._key, address)


def key_file() -> Path:
    """The file of the key: `$CHATMAIL_NAMES_KEY`, else `KEY_FILE`."""
    return Path(os.environ.get("CHATMAIL_NAMES_KEY", KEY_FILE))
