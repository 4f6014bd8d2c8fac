"""The store's engine: SQLAlchemy Core over SQLite (default) or PostgreSQL (several hosts).

`open_store` makes the tables that are missing; nothing else in the project issues DDL. Programs open only a
store that is there (`existing_store`): the playbook makes an empty file for SQLite, the operator an empty
database in PostgreSQL.
"""

from __future__ import annotations

import contextlib
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import CreateIndex, CreateTable

from chatmail_milter.store import checkpoint, fault
from chatmail_milter.store.tables import metadata

# A program whose tables are not these gets another number. 0: what released programs left, with these tables.
SCHEMA = 1
# What the table of migrations is called in PostgreSQL, where a newer program has one; SQLite has a number.
_MIGRATIONS = "alembic_version"


def load(url: str) -> None:
    """Import what `open_store(url)` takes; before a fork, so that the processes share it.

    Nothing is opened, and nothing said of what is wrong with `url`.
    """
    with contextlib.suppress(ArgumentError, ImportError):
        make_url(url).get_dialect().import_dbapi()


def existing_store(url: str) -> Engine:
    """The store at `url`, as `open_store`; where there is none, `fault.StoreError` and no new one."""
    fault.look(url)
    return open_store(url)


def open_store(url: str) -> Engine:
    """An engine for `url` (SQLAlchemy form, e.g. `sqlite:////var/lib/chatmail/store.sqlite`), tables made.

    Raises `sqlalchemy.exc.SQLAlchemyError` when the file or server can't be opened: `fault.StoreError` if a
    newer program made it, or there is no driver.
    """
    try:
        engine = create_engine(url)
    except ImportError as error:
        raise fault.missing_driver(error) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        checkpoint.keep(engine)
    try:
        with engine.begin() as connection:
            _mark(connection)
            _make_tables(connection)
    except BaseException:
        # Whoever asks again opens it anew.
        engine.dispose()
        raise
    return engine


def _make_tables(connection: Connection) -> None:
    # Not create_all(): it looks first and makes later, and several of our programs start at the same time.
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))


def _mark(connection: Connection) -> None:
    """Write down which schema this is. Raises `fault.StoreError` where it is a newer one."""
    if inspect(connection).has_table(_MIGRATIONS):
        raise fault.newer(SCHEMA + 1, SCHEMA)
    if connection.dialect.name != "sqlite":
        return
    found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if found > SCHEMA:
        raise fault.newer(found, SCHEMA)
    if found < SCHEMA:
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")


def scrub(engine: Engine) -> bool:
    """Let nothing of what was deleted be left in SQLite's files; False where others were busy for long.

    Their log (the WAL) has pages as they were, until the next checkpoint; so it is emptied at once.
    """
    if engine.dialect.name != "sqlite":
        return True
    with engine.connect() as connection:
        # Waits for those who read, `busy_timeout` long.
        busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # WAL: readers never wait for the one writer. The timeout outlasts any transaction of ours by far.
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    # What is deleted is written over in the file; Debian's does so by itself.
    connection.execute("PRAGMA secure_delete = ON")
