"""The store's engine: SQLAlchemy Core over SQLite (default) or PostgreSQL (several hosts).

Tables are beside the code that reads them (`accounts.py`, `peers.py`, …) and register on `metadata`.
`open_store` makes those that are missing; nothing else in the project issues DDL.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event

metadata = MetaData()


def open_store(url: str) -> Engine:
    """An engine for `url` (SQLAlchemy form, e.g. `sqlite:////var/lib/chatmail/store.sqlite`), tables made.

    Raises `sqlalchemy.exc.OperationalError` when the file or server can't be opened.
    """
    from chatmail_milter.store import accounts, peers  # noqa: F401  (their tables register on metadata)

    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    metadata.create_all(engine)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # WAL: readers never wait for the one writer. The timeout outlasts any transaction of ours by far.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA foreign_keys = ON")
