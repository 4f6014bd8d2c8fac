"""Turns a database error into one line of advice for operators, and an exit status (sysexits(3)).

For programs that can't work without the database. The line contains no data from it and no password.
"""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from chatmail_milter.store.sanitize import anonymous

_DATA, _NO_INPUT, _UNAVAILABLE, _SOFTWARE, _IO, _LATER, _PERMISSION, _CONFIG = 65, 66, 69, 70, 74, 75, 77, 78

# (Part of the database's error text, exit status, advice); the first match counts. SQLite's texts are those
# of https://www.sqlite.org/rescode.html
_ADVICE = (
    ("is locked", _LATER, "try again: another program is writing to the store"),
    ("unable to open database file", _PERMISSION, "run this as root, or correct store.url"),
    ("readonly database", _PERMISSION, "run this as root, or correct the permissions of the store"),
    ("database or disk is full", _IO, "make room on the disk of the store"),
    ("disk I/O error", _IO, "check the disk of the store"),
    ("not a database", _DATA, "correct store.url, or restore the store from a copy"),
    ("malformed", _DATA, "restore the store from a copy: it is corrupt"),
    ("no such", _DATA, "restore the store from a copy, or install the program that wrote it"),
    ("has no column", _DATA, "restore the store from a copy, or install the program that wrote it"),
    # PostgreSQL's, only in English: its messages are in the language of the server.
    ("authentication failed", _PERMISSION, "correct the user or the password in store.url"),
    ("permission denied", _PERMISSION, "let the user in store.url own the database"),
    ('relation "', _DATA, "restore the store from a copy, or install the program that wrote it"),
    ("does not exist", _NO_INPUT, "create the database and its user, or correct store.url"),
    ("too many clients", _LATER, "try again, or raise the server's max_connections"),
    ("connection slots", _LATER, "try again, or raise the server's max_connections"),
    ("No space left on device", _IO, "make room on the disk of the store"),
)


class StoreError(SQLAlchemyError):
    """The database can't be used. `advice`: what the operator should do. `status`: the exit status."""

    def __init__(self, status: int, advice: str) -> None:
        super().__init__(advice)
        self.status, self.advice = status, advice


def look(url: str) -> None:
    """Raises `StoreError` if `url` names no existing SQLite file, so that none is created by mistake.

    An empty file is valid: its tables are created when it is first opened. PostgreSQL is not checked.
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
        raise StoreError(_PERMISSION, f"run this as root: {path} can't be read") from None
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(_PERMISSION, f"run this as root, or correct the permissions of {path}")


def newer(found: str, known: int) -> StoreError:
    """The error for a database with schema `found`, newer than this program's, `known`."""
    return StoreError(
        _DATA, f"install the newer program again, which made this store (schema {found}; here {known})"
    )


def corrupt(why: str) -> StoreError:
    """The error for a corrupt database; `why` is a clause such as "it has no table peers"."""
    return StoreError(_DATA, f"restore the store from a copy: {why}")


def missing_driver(error: ImportError) -> StoreError:
    """The error for a database whose Python driver is not installed."""
    return StoreError(
        _CONFIG, f"install the database driver that store.url names, or correct store.url: {error}"
    )


def missing_key(path: Path, why: str) -> StoreError:
    """The error for a pseudonym key that can't be read or is too short; `why`: name of the exception."""
    return StoreError(
        _CONFIG, f"run this as root, or run the playbook, which makes the key: {path} can't be used ({why})"
    )


def explained(error: SQLAlchemyError) -> StoreError:
    """The `StoreError` with advice for any error from SQLAlchemy."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, (ArgumentError, NoSuchModuleError)):
        return StoreError(_CONFIG, f"correct store.url: {anonymous(str(error))}")
    if not isinstance(error, DBAPIError):
        return StoreError(_SOFTWARE, f"report this, with the journal: {type(error).__name__}")
    # Not str(error): it contains the statement's parameters.
    said = anonymous(str(error.orig))
    for words, status, advice in _ADVICE:
        if words in said:
            return StoreError(status, f"{advice}: {said}")
    return StoreError(_UNAVAILABLE, f"start the database server, or correct store.url: {said}")
