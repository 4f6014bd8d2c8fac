"""Migrations keep all rows of an earlier schema; a failed one leaves the store unchanged."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from chatmail_milter.store import engine, migrations, schema
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.tables import metadata
from tests import stores


@pytest.fixture(params=stores.EARLIER)
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "old.sqlite"
    stores.make(path, request.param)
    return path


def test_all_rows_of_a_store_are_carried_over(old: Path) -> None:
    before = stores.rows(old)
    assert all(before.values())
    open_store(f"sqlite:///{old}").dispose()
    after = stores.rows(old)
    assert after == stores.carried(before)
    assert [(row[0], row[-1]) for row in after["accounts"]] == [
        (stores.ALICE, 2_000_000_000),
        (stores.BOB, None),
        (stores.CAROL, 5),
    ]


def test_the_store_of_a_program_that_had_fewer_tables_is_carried_over(tmp_path: Path) -> None:
    old = tmp_path / "old.sqlite"
    stores.make(old)
    with sqlite3.connect(old) as store:
        store.execute("PRAGMA user_version = 0")
        for table in ("breakers", "quotas", "policy", "suspensions"):
            store.execute(f"DROP TABLE {table}")
    open_store(f"sqlite:///{old}").dispose()
    assert [row[-1] for row in stores.rows(old)["accounts"]] == [None] * 3
    assert (stores.rows(old)["breakers"], stores.rows(old)["policy"]) == ([], [])


def test_a_migrated_store_has_the_schema_of_a_new_one(old: Path, tmp_path: Path) -> None:
    migrated = open_store(f"sqlite:///{old}")
    new = open_store(f"sqlite:///{tmp_path}/new.sqlite")
    assert stores.shape(migrated) == stores.shape(new)
    for store in (migrated, new):
        with store.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            assert compare_metadata(context, metadata) == []


def test_the_last_migration_makes_the_schema_of_the_program(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/store").connect() as connection:
        scripts = ScriptDirectory.from_config(migrations.configuration(connection))
        assert scripts.get_heads() == [str(schema.SCHEMA)]
        assert schema.number(connection) == schema.SCHEMA


def test_a_migration_that_fails_leaves_the_store_as_it_was(old: Path) -> None:
    with sqlite3.connect(old) as store:
        # A row of nobody, which no program of ours can have written.
        store.execute("INSERT INTO device_tokens VALUES ('nobody00@a.test', 'd', 't', '2026-11-01')")
    before = stores.rows(old)
    with pytest.raises(RuntimeError, match="refer to nothing"):
        open_store(f"sqlite:///{old}")
    assert stores.rows(old) == before


@pytest.mark.parametrize("schema", [0, *stores.EARLIER])
def test_of_several_at_once_one_makes_the_tables(schema: int, tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.touch()
    if schema:
        stores.make(path, schema)
    before = stores.rows(path)
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: open_store(f"sqlite:///{path}"), range(8)))
    assert len(engines) == 8
    assert stores.rows(path)["alembic_version"] == [("3",)]
    if schema:
        assert stores.rows(path) == stores.carried(before)


def test_a_new_store_that_another_program_writes_to_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    waits = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        other.commit()

    # SQLite itself refuses here without waiting. (Other modules sleep, too, in threads of earlier tests.)
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    with open_store(f"sqlite:///{path}").connect() as connection:
        assert schema.number(connection) == schema.SCHEMA
    assert len(waits) == 1


def test_a_new_store_that_stays_locked_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(engine, "_LOCK_TIMEOUT", 0.1)
    with pytest.raises(OperationalError, match="locked"):
        open_store(f"sqlite:///{path}")
