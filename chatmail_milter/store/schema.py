"""The version number of the database schema, the migration of older databases, and a check for operators.

The number is in Alembic's table. If it is this program's, Alembic is not imported. Otherwise: an empty
database gets all tables at once, an older one is migrated (`migrations/`), and a newer one is refused.
(Programs from before the first migration refuse any database that has Alembic's table.) If several programs
start at once, one migrates in a transaction, and the others wait. `examine` only reads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, func, inspect, select
from sqlalchemy.pool import NullPool

from chatmail_milter.store import fault
from chatmail_milter.store.tables import alembic_version, metadata

# The number of the last file in `migrations/versions`; a test compares them.
SCHEMA = 3
# How long a program waits for another's migration, which may copy a large table.
_PATIENCE = 120  # seconds
_LOCK = 0x636861746D61696C  # key of a PostgreSQL advisory lock: "chatmail" in ASCII

log = logging.getLogger(__name__)


def bring_up_to_date(engine: Engine) -> None:
    """Creates or migrates the tables to `SCHEMA`. Raises `fault.StoreError` if the database is newer."""
    with engine.connect() as connection:
        if number(connection) == SCHEMA:
            return
    with _alone(engine) as connection:
        # Another program may have migrated meanwhile.
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
    """The schema number of a database; 0 if it is empty or from before the first migration.

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
    """The names of our tables that exist in the database."""
    return metadata.tables.keys() & set(inspect(connection).get_table_names())


def _make(connection: Connection) -> None:
    metadata.create_all(connection, checkfirst=False)
    alembic_version.create(connection, checkfirst=True)
    connection.execute(alembic_version.insert().values(version_num=str(SCHEMA)))


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction that excludes other migrations. An exception rolls it back."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            yield connection
            connection.commit()
            return
        # Detached from the pool, so that the settings below don't outlive this transaction.
        connection.detach()
        # SQLite needs a copy of the table for some changes. With foreign keys on, dropping the old table
        # would delete the rows that refer to it. https://www.sqlite.org/lang_altertable.html (7)
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_PATIENCE * 1000}")
        # Python's sqlite3 does not begin a transaction before DDL.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
        if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
            raise RuntimeError("a migration left rows that refer to nothing")
        connection.commit()


def examine(url: str) -> str:
    """One or two sentences for operators about the state of the database at `url`.

    Raises `sqlalchemy.exc.SQLAlchemyError` if it is unusable; `fault.explained` turns that into advice.
    """
    fault.look(url)
    try:
        engine = create_engine(url, poolclass=NullPool)
    except ImportError as error:
        raise fault.missing_driver(error) from None
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            _check_file(connection)
        found = number(connection)
        if not found and not present(connection):
            return "The store is empty. The first program that opens it creates its tables."
        if found < SCHEMA:
            return (
                f"The store has schema {found or 1}. The first program that opens it migrates it to {SCHEMA}."
            )
        _compare(connection)
    return f"The store is fine, with schema {found}."


def _check_file(connection: Connection) -> None:
    # https://www.sqlite.org/pragma.html#pragma_quick_check
    if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() != "ok":
        raise fault.corrupt("SQLite says that it is corrupt")


def _compare(connection: Connection) -> None:
    """Raises `fault.StoreError` if a table or column is missing."""
    look = inspect(connection)
    there = present(connection)
    for name, table in metadata.tables.items():
        if name not in there:
            raise fault.corrupt(f"it has no table {name}")
        columns = {column["name"] for column in look.get_columns(name)}
        missing = [column.name for column in table.columns if column.name not in columns]
        if missing:
            raise fault.corrupt(f"table {name} has no column {missing[0]}")
