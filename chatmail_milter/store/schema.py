"""The number of the store's schema, and how a store gets from an older number to this one.

A store has its number in Alembic's table. A program whose number it is reads that row and does not import
Alembic. Otherwise: an empty store gets all tables at once; one of an older program is migrated
(`migrations/`); one of a newer program is refused, as programs before the first migration refuse every store
that has that table. If several programs start at once, one does it in one transaction, and the others wait.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, func, inspect, select

from chatmail_milter.store import fault
from chatmail_milter.store.tables import alembic_version, metadata

# That of the last file in `migrations/versions`; a test compares them.
SCHEMA = 3
# A migration may copy a large table; whoever starts meanwhile waits for it, not as long as for a transaction.
_PATIENCE = 120  # seconds
_LOCK = 0x636861746D61696C  # of PostgreSQL's advisory locks, "chatmail"

log = logging.getLogger(__name__)


def bring_up_to_date(engine: Engine) -> None:
    """Give the store the tables of `tables.py`. Raises `fault.StoreError` if a newer program made it."""
    with engine.connect() as connection:
        if number(connection) == SCHEMA:
            return
    with _alone(engine) as connection:
        # Another program may have done it meanwhile.
        found = number(connection)
        if found == SCHEMA:
            return
        if not found and not present(connection):
            _make(connection)
            return
        from chatmail_milter.store import migrations

        migrations.upgrade(connection)
    log.info("event=store-migrated from=%d to=%d", found, SCHEMA)


def number(connection: Connection) -> int:
    """The number of a store's schema; 0 where there is none: an empty store, or one of the first programs.

    Raises `fault.StoreError` for a number above `SCHEMA`.
    """
    if not inspect(connection).has_table(alembic_version.name):
        return 0
    text = connection.execute(select(alembic_version.c.version_num)).scalar_one_or_none()
    if text is None:
        return 0
    if not text.isdecimal() or int(text) > SCHEMA:
        raise fault.newer(text, SCHEMA)
    return int(text)


def present(connection: Connection) -> set[str]:
    """Which of our tables a store has."""
    return metadata.tables.keys() & set(inspect(connection).get_table_names())


def _make(connection: Connection) -> None:
    metadata.create_all(connection, checkfirst=False)
    alembic_version.create(connection, checkfirst=True)
    connection.execute(alembic_version.insert().values(version_num=str(SCHEMA)))


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction during which no other program changes the schema. An exception rolls all of it back."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            yield connection
            connection.commit()
            return
        # These settings are for this connection, which is closed afterwards.
        connection.detach()
        # Some changes of a table need a copy of it. With foreign keys on, dropping the old one would delete
        # the rows that refer to it. https://www.sqlite.org/lang_altertable.html (7)
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_PATIENCE * 1000}")
        # Python's sqlite3 begins no transaction before DDL.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
        if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
            raise RuntimeError("a migration left rows that refer to nothing")
        connection.commit()
