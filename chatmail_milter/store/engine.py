"""Opens the database ("store"): SQLAlchemy Core on SQLite (default) or PostgreSQL (for several hosts).

`open_store` creates the tables in an empty database and migrates an older one (`schema.py`). Programs use
`existing_store`, which creates no database: the playbook creates an empty SQLite file, or the operator an
empty PostgreSQL database.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from chatmail_milter.store import checkpoint, fault, schema

# How long a connection waits for another's lock: much longer than any of our transactions.
_LOCK_TIMEOUT = 5.0  # seconds
_LOCK_AGAIN = 0.02  # seconds


def load(url: str) -> None:
    """Imports the database driver for `url`, before a fork, so that processes share its memory.

    Opens nothing, and ignores errors in `url`.
    """
    with contextlib.suppress(ArgumentError, ImportError):
        make_url(url).get_dialect().import_dbapi()


def existing_store(url: str) -> Engine:
    """As `open_store`, but raises `fault.StoreError` instead of creating a missing SQLite file."""
    fault.look(url)
    return open_store(url)


def open_store(url: str) -> Engine:
    """An engine for `url` (SQLAlchemy form, e.g. `sqlite:////var/lib/chatmail/store.sqlite`), migrated.

    Raises `sqlalchemy.exc.SQLAlchemyError` when the file or server can't be opened: `fault.StoreError` if a
    newer program made it, or there is no driver.
    """
    try:
        # A writer that waits for SQLite's lock holds its connection, and lookups must not wait for one.
        engine = create_engine(url, max_overflow=25)
    except ImportError as error:
        raise fault.missing_driver(error) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        checkpoint.keep(engine)
    try:
        schema.bring_up_to_date(engine)
    except BaseException:
        # The caller retries with a new engine.
        engine.dispose()
        raise
    return engine


def scrub(engine: Engine) -> bool:
    """Removes deleted data from SQLite's files. False if other processes were busy for too long.

    The write-ahead log holds pages from before the deletion until the next checkpoint, which this makes now.
    """
    if engine.dialect.name != "sqlite":
        return True
    with engine.connect() as connection:
        # Waits for readers, up to `busy_timeout`.
        busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_LOCK_TIMEOUT * 1000:.0f}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Overwrites deleted data in the file. The default in Debian's build, not in all.
    connection.execute("PRAGMA secure_delete = ON")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Sets the journal mode in which readers never wait for the writer.

    A new file has another mode. SQLite changes it in a read transaction that becomes a write transaction, and
    such a one doesn't wait for locks, whatever `busy_timeout` says: two programs that open the file at once
    could otherwise wait for each other. https://www.sqlite.org/c3ref/busy_handler.html
    """
    give_up = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(_LOCK_AGAIN)
