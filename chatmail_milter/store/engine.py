"""The store's engine: SQLAlchemy Core over SQLite (default) or PostgreSQL (several hosts).

Tables are beside the code that reads them (`accounts.py`, `peers.py`, …) and register on `metadata`.
`open_store` makes those that are missing; nothing else in the project issues DDL. What belongs to an account
refers to it, and goes with it (ON DELETE CASCADE).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.schema import CreateIndex, CreateTable

from chatmail_milter.store import checkpoint

metadata = MetaData()


def open_store(url: str) -> Engine:
    """An engine for `url` (SQLAlchemy form, e.g. `sqlite:////var/lib/chatmail/store.sqlite`), tables made.

    Raises `sqlalchemy.exc.OperationalError` when the file or server can't be opened.
    """
    # They register their tables on `metadata`; `policies` brings along what it reads, `notices` the tokens.
    from chatmail_milter.store import (  # noqa: F401
        accounts,
        endpoints,
        missing_keys,
        notices,
        peers,
        policies,
        quotas,
        refusals,
        routes,
        tokens,
    )

    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        checkpoint.keep(engine)
    # Not create_all(): it looks first and makes later, and several of our programs start at the same time.
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(CreateIndex(index, if_not_exists=True))
    return engine


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
