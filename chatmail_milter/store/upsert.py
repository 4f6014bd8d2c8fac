"""INSERT … ON CONFLICT, which SQLAlchemy Core spells per dialect and both of our databases know alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def upsert(connection: Connection, table: Table, values: dict[str, Any], *, add: Sequence[str] = ()) -> None:
    """Write the row `values`, or its columns over the row with the same primary key.

    Columns of `add` are then added to what was there; columns not in `values` stay.
    """
    upsert_all(connection, table, [values], add=add)


def upsert_all(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], *, add: Sequence[str] = ()
) -> None:
    """The same for each of `rows`, all with the same columns, in their order."""
    if not rows:
        return
    insert = _insert(connection, table)
    keys = [column.name for column in table.primary_key]
    changed = {
        name: table.c[name] + insert.excluded[name] if name in add else insert.excluded[name]
        for name in rows[0]
        if name not in keys
    }
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def insert_new(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write those of `rows` whose primary keys are not there yet."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def _insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    # Imported here: the other database's modules take 2 MiB in each program.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
