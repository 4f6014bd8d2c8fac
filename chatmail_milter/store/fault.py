"""What is the matter with the store, in one line that begins with what to do about it, and an exit status.

For programs that can't go on without it. The line names the store, no row of it and no password. sysexits(3)
"""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from chatmail_milter.store.words import anonymous

_DATA, _NO_INPUT, _UNAVAILABLE, _SOFTWARE, _IO, _LATER, _PERMISSION, _CONFIG = 65, 66, 69, 70, 74, 75, 77, 78

# What is in the databases' own words, and what to do then; the first that fits counts. SQLite's are the texts
# of https://www.sqlite.org/rescode.html
_ADVICE = (
    ("is locked", _LATER, "try again, for another program is writing to the store"),
    ("unable to open database file", _PERMISSION, "run this as root, or correct store.url"),
    ("readonly database", _PERMISSION, "run this as root, or correct the permissions of the store"),
    ("database or disk is full", _IO, "make room on the disk of the store"),
    ("disk I/O error", _IO, "look after the disk of the store"),
    ("not a database", _DATA, "correct store.url, or restore the store from a copy"),
    ("malformed", _DATA, "restore the store from a copy, for it is corrupt"),
    ("no such", _DATA, "restore the store from a copy, or install the program that wrote it"),
    ("has no column", _DATA, "restore the store from a copy, or install the program that wrote it"),
    # PostgreSQL's, in English: its messages are in the language of the server.
    ("authentication failed", _PERMISSION, "correct the user or the password in store.url"),
    ("permission denied", _PERMISSION, "let the user in store.url own the database"),
    ('relation "', _DATA, "restore the store from a copy, or install the program that wrote it"),
    ("does not exist", _NO_INPUT, "make the database and its user, or correct store.url"),
    ("too many clients", _LATER, "try again, or raise the server's max_connections"),
    ("connection slots", _LATER, "try again, or raise the server's max_connections"),
    ("No space left on device", _IO, "make room on the disk of the store"),
)


class StoreError(SQLAlchemyError):
    """A store that is not opened: `advice` says what to do, `status` is the exit status."""

    def __init__(self, status: int, advice: str) -> None:
        super().__init__(advice)
        self.status, self.advice = status, advice


def look(url: str) -> None:
    """Raise `StoreError` where `url` names no store that is there, so that none is made by mistake.

    An empty file is a store that nobody has opened yet.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(_CONFIG, "correct store.url, which is no SQLAlchemy URL") from None
    path = parsed.database
    if parsed.get_backend_name() != "sqlite" or not path or path == ":memory:":
        return
    try:
        if Path(path).is_dir():
            raise StoreError(_CONFIG, f"correct store.url, which names a directory: {path}")
        if not Path(path).exists():
            raise StoreError(
                _NO_INPUT, f"correct store.url, or run the playbook, which makes a store: there is no {path}"
            )
    except PermissionError:
        raise StoreError(_PERMISSION, f"run this as root, for {path} can't be looked at") from None
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(_PERMISSION, f"run this as root, or correct the permissions of {path}")


def newer(found: str, known: int) -> StoreError:
    """A store whose schema, `found`, a newer program made; this one's is `known`."""
    return StoreError(
        _DATA, f"install the newer program again, for it made this store (schema {found}; here {known})"
    )


def corrupt(why: str) -> StoreError:
    """A store that a program can't have left so; `why` is a clause about it."""
    return StoreError(_DATA, f"restore the store from a copy, for {why}")


def missing_driver(error: ImportError) -> StoreError:
    """A database for which there is no library here."""
    return StoreError(
        _CONFIG, f"install the database driver that store.url names, or correct store.url: {error}"
    )


def missing_key(path: Path, why: str) -> StoreError:
    """A key of pseudonyms that can't be read, as `why` says, or is too short."""
    return StoreError(
        _CONFIG, f"run this as root, or run the playbook, which makes the key: {path} can't be used ({why})"
    )


def explained(error: SQLAlchemyError) -> StoreError:
    """The same fault with what to do about it."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, (ArgumentError, NoSuchModuleError)):
        return StoreError(_CONFIG, f"correct store.url: {anonymous(str(error))}")
    if not isinstance(error, DBAPIError):
        return StoreError(_SOFTWARE, f"report this, with the journal: {type(error).__name__}")
    # Not all that SQLAlchemy says: it has the statement's parameters.
    said = anonymous(str(error.orig))
    for words, status, advice in _ADVICE:
        if words in said:
            return StoreError(status, f"{advice}: {said}")
    return StoreError(_UNAVAILABLE, f"start the database server, or correct store.url: {said}")
