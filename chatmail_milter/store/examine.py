"""Checks a database read-only, for `chatmailctl`: creates, migrates and writes nothing."""

from __future__ import annotations

from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.pool import NullPool

from chatmail_milter.store import fault, schema
from chatmail_milter.store.tables import metadata


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
        number = schema.number(connection)
        if not number and not schema.present(connection):
            return "The store is empty. The first program that opens it makes its tables."
        if number < schema.SCHEMA:
            last = schema.SCHEMA
            return f"The store has schema {number or 1}. The first program that opens it makes it {last}."
        _compare(connection)
    return f"The store is fine, with schema {number}."


def _check_file(connection: Connection) -> None:
    # https://www.sqlite.org/pragma.html#pragma_quick_check
    if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() != "ok":
        raise fault.corrupt("SQLite says that it is corrupt")


def _compare(connection: Connection) -> None:
    """Raises `fault.StoreError` if a table or column is missing."""
    look = inspect(connection)
    present = schema.present(connection)
    for name, table in metadata.tables.items():
        if name not in present:
            raise fault.corrupt(f"it has no table {name}")
        there = {column["name"] for column in look.get_columns(name)}
        missing = [column.name for column in table.columns if column.name not in there]
        if missing:
            raise fault.corrupt(f"table {name} has no column {missing[0]}")
