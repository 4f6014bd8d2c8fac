"""Stores for tests: an empty one of this schema, and those of earlier schemas as SQL text.

Each earlier one is carried through all later migrations by the tests. `schema_N.DATABASE.sql` has rows in
each table, with values that differ from column to column. A file that is here stays.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine, inspect

from chatmail_milter.store.engine import open_store
from chatmail_milter.store.schema import SCHEMA

HERE = Path(__file__).parent
# A file for each.
EARLIER = tuple(range(1, SCHEMA))
ALICE, BOB, CAROL = "alice000@a.test", "bob00000@a.test", "carol000@a.test"
Rows = dict[str, list[tuple[Any, ...]]]


def made(path: Path) -> str:
    """The URL of a store in SQLite that is there already: a file, copied, costs a fifth of what DDL does."""
    if not path.exists() or not path.stat().st_size:
        path.write_bytes(_empty())
    return f"sqlite:///{path}"


@cache
def _empty() -> bytes:
    with TemporaryDirectory() as directory:
        file = Path(directory, "store.sqlite")
        open_store(f"sqlite:///{file}").dispose()
        # There is no file where `tests.on_postgresql` keeps the tables elsewhere.
        return file.read_bytes() if file.exists() else b""


def text(schema: int, database: str) -> str:
    """The SQL of a store."""
    return (HERE / f"schema_{schema}.{database}.sql").read_text("utf-8")


def make(path: Path, schema: int = 1) -> None:
    """Such a store in SQLite."""
    store = sqlite3.connect(path)
    store.executescript(text(schema, "sqlite"))
    store.close()


def rows(path: Path) -> Rows:
    """All rows of a store in SQLite by table, sorted."""
    store = sqlite3.connect(path)
    try:
        tables = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        names = [name for (name,) in tables if not name.startswith("sqlite_")]
        return {name: sorted(store.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}  # noqa: S608
    finally:
        store.close()


def shape(engine: Engine) -> dict[str, Any]:
    """All of a schema that the database tells of."""
    look = inspect(engine)
    return {
        table: (
            [one | {"type": str(one["type"])} for one in look.get_columns(table)],
            look.get_pk_constraint(table),
            look.get_foreign_keys(table),
            look.get_indexes(table),
            look.get_unique_constraints(table),
        )
        for table in look.get_table_names()
    }


def alone(directory: Path) -> set[str]:
    """The accounts in a copy of the file alone."""
    copy = directory / "copy" / "store.sqlite"
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(directory / "store.sqlite", copy)
    with closing(sqlite3.connect(copy)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'accounts'").fetchone():
            return set()
        found = {address for (address,) in connection.execute("SELECT address FROM accounts")}
    shutil.rmtree(copy.parent)
    return found


def carried(before: Rows) -> Rows:
    """What the migrations make of the rows of an earlier schema."""
    after = {table: list(found) for table, found in before.items()}
    if "quotas" in after:
        quotas: dict[str, int] = dict(after.pop("quotas"))
        after["accounts"] = [(*row, quotas.get(row[0])) for row in after["accounts"]]
    after |= {"traffic": [], "traffic_latencies": [], "traffic_peers": []}
    after["alembic_version"] = [("3",)]
    return after
