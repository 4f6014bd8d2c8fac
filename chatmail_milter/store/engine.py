"""The store's engine: SQLAlchemy Core over SQLite (default) or PostgreSQL (several hosts).

`open_store` gives an empty store its tables, and one of an older program those of this one (`schema.py`).
Programs open only a store that is there (`existing_store`): the playbook makes an empty file for SQLite, the
operator an empty database in PostgreSQL.
"""

from __future__ import annotations

import contextlib
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from chatmail_milter.store import checkpoint, fault, schema


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
    """An engine for `url` (SQLAlchemy form, e.g. `sqlite:////var/lib/chatmail/store.sqlite`), migrated.

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
        schema.bring_up_to_date(engine)
    except BaseException:
        # Whoever asks again opens it anew.
        engine.dispose()
        raise
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
