"""Looks up whether an account exists, for a program that asks the store nothing else.

SQLite's file is read by Python's own driver, without SQLAlchemy, which would be more than half of the memory
of such a program. Any other database is asked through `Accounts`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from chatmail_milter.lazy import once

_ONE = "SELECT 1 FROM accounts WHERE address = ?"
_BUSY = 5.0  # seconds, as in `engine`


class StoreAwayError(Exception):
    """The store gave no answer. The text is the name of the driver's exception."""


def existence(url: str, file: Path | None) -> Callable[[str], bool]:
    """A function that says whether a canonical address has an account. Not thread-safe.

    `url`: of the store, `file`: its file if it is SQLite's. The store is opened at the first question, and
    again after an error. The function raises `StoreAwayError`.
    """
    return _by_sqlalchemy(url) if file is None else _File(file).has


class _File:
    """SQLite's file, which has to be there."""

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=rw"
        self._opened: sqlite3.Connection | None = None

    def has(self, address: str) -> bool:
        try:
            if self._opened is None:
                self._opened = sqlite3.connect(self._uri, uri=True, timeout=_BUSY)
                self._opened.execute("PRAGMA query_only = ON")
            return self._opened.execute(_ONE, (address,)).fetchone() is not None
        except sqlite3.Error as error:
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.close()
            raise StoreAwayError(type(error).__name__) from error


def _by_sqlalchemy(url: str) -> Callable[[str], bool]:
    from sqlalchemy.exc import SQLAlchemyError

    from chatmail_milter.store.accounts import Accounts
    from chatmail_milter.store.engine import existing_store

    accounts = once(lambda: Accounts(existing_store(url)))

    def has(address: str) -> bool:
        try:
            return accounts().lookup(address) is not None
        except SQLAlchemyError as error:
            raise StoreAwayError(type(error).__name__) from error

    return has
