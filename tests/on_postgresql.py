"""A plugin of pytest that runs tests of the store on PostgreSQL: `pytest -p tests.on_postgresql`.

Each SQLite file that a test would open is a schema of its own in the database `$CHATMAIL_TEST_POSTGRESQL`.
Tests that look into SQLite's file are marked `sqlite`.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Engine, make_url

from chatmail_milter.store import engine, schema

_SERVER = make_url(os.environ["CHATMAIL_TEST_POSTGRESQL"])
_made: set[str] = set()


def create_engine(url: str | URL, **options: Any) -> Engine:
    """What `sqlalchemy.create_engine` does, on PostgreSQL."""
    given = make_url(url)
    if given.get_backend_name() != "sqlite":
        return sqlalchemy.create_engine(url, **options)
    schema = "s" + hashlib.sha256(str(given.database).encode()).hexdigest()[:16]
    if schema not in _made:
        admin = sqlalchemy.create_engine(_SERVER)
        with admin.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        admin.dispose()
        _made.add(schema)
    return sqlalchemy.create_engine(
        _SERVER.update_query_dict({"options": f"-csearch_path={schema}"}), **options
    )


engine.create_engine = schema.create_engine = create_engine  # type: ignore[attr-defined]
