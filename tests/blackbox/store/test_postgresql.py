"""The store on PostgreSQL: the unit tests of the store, migrations, concurrent starts, faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, select

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.reserved_names import ReservedNames
from chatmail_milter.store.tables import metadata
from tests import stores
from tests.blackbox.store import postgresql
from tests.blackbox.store.postgresql import PostgresqlServer

TOP = Path(__file__).parents[3]
# Those that try the store itself, on threads and in order of time.
UNIT = (
    "store/test_accounts",
    "store/test_all_tables",
    "store/test_counters",
    "store/test_peer_counts",
    "ctl/test_account_export",
    "milter/test_ended_logins",
    "store/test_endpoint_hosts",
    "store/test_missing_keys",
    "store/test_reserved_names",
    "store/test_notices",
    "store/test_endpoints_and_routes",
    "store/test_stored_policy",
    "store/test_quotas",
    "store/test_stored_refusals",
    "store/test_tokens",
    "store/test_hourly_traffic",
)
# Begins when it is told to, so that all of them begin together.
OPEN = (
    "import sys; from chatmail_milter.store.engine import existing_store; input();"
    "existing_store(sys.argv[1]).dispose()"
)
# Killed by the last statement of the migration.
OPEN_AND_DIE = (
    "import os, signal, sys; from sqlalchemy import Engine, event;"
    "from chatmail_milter.store.engine import open_store;"
    "last = 'UPDATE alembic_version SET version_num=\\'3';"
    "die = lambda c, cursor, said, *_: said.startswith(last) and os.kill(os.getpid(), signal.SIGKILL);"
    "event.listen(Engine, 'after_cursor_execute', die); open_store(sys.argv[1])"
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with postgresql.running() as server:
        yield server


@pytest.fixture
def url(server: PostgresqlServer) -> str:
    return server.database()


@pytest.fixture(params=stores.EARLIER)
def old(url: str, request: pytest.FixtureRequest) -> str:
    """A store of an earlier schema."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(stores.text(request.param, "postgresql"))
    engine.dispose()
    return url


def rows(url: str) -> stores.Rows:
    """All rows by table, sorted."""
    engine = create_engine(url)
    with engine.connect() as connection:
        there = MetaData()
        there.reflect(connection)
        found = {
            name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for name, table in there.tables.items()
        }
    engine.dispose()
    return found


def chatmailctl(directory: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    file = directory / "chatmail.toml"
    file.write_text(f'[mail]\ndomain = "a.test"\n[store]\nurl = "{url}"\nmail = "{directory}"\n')
    return subprocess.run(
        [Path(sys.executable).with_name("chatmailctl"), *words],
        env=os.environ | {"CHATMAIL_CONFIG": str(file)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_no_unit_test_of_the_store_is_left_out() -> None:
    """But those of SQLite's file, and of migrations and faults, which this module has in its own way."""
    files = (TOP / "tests/unit/store").glob("test_*.py")
    found = {f"store/{file.stem}" for file in files if "open_store" in file.read_text("utf-8")}
    assert found - set(UNIT) == {
        "store/test_checkpoint",
        "store/test_migrations",
        "store/test_unusable_store",
    }


@pytest.mark.parametrize("file", UNIT)
def test_what_is_said_of_the_store_in_sqlite_holds(file: str, url: str) -> None:
    options = ("-q", "-p", "tests.on_postgresql", "-p", "no:cacheprovider", "-m", "not sqlite")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"tests/unit/{file}.py"],
        cwd=TOP,
        env=os.environ | {"CHATMAIL_TEST_POSTGRESQL": url},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_all_rows_of_a_store_are_carried_over(old: str) -> None:
    before = rows(old)
    assert all(before.values())
    assert len(before) == 22
    open_store(old).dispose()
    assert rows(old) == stores.carried(before)


def test_a_migrated_store_has_the_schema_of_a_new_one(old: str, server: PostgresqlServer) -> None:
    migrated, new = open_store(old), open_store(server.database())
    assert stores.shape(migrated) == stores.shape(new)
    for engine in (migrated, new):
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            assert compare_metadata(context, metadata) == []
        engine.dispose()


def test_a_migration_that_is_killed_leaves_the_store_as_it_was(old: str) -> None:
    before = rows(old)
    killed = subprocess.run([sys.executable, "-c", OPEN_AND_DIE, old], timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert rows(old) == before
    open_store(old).dispose()
    assert rows(old) == stores.carried(before)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("schema", [0, 1])
def test_of_programs_that_start_together_one_makes_the_tables(
    database: str, schema: int, server: PostgresqlServer, tmp_path: Path
) -> None:
    if database == "sqlite":
        path = tmp_path / "store.sqlite"
        path.touch()
        if schema:
            stores.make(path)
        url = f"sqlite:///{path}"
    else:
        url = server.database()
        if schema:
            engine = create_engine(url)
            with engine.begin() as connection:
                connection.exec_driver_sql(stores.text(1, "postgresql"))
            engine.dispose()
    # As many as a relay has that open the store.
    programs = [
        subprocess.Popen([sys.executable, "-c", OPEN, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    for one in programs:
        assert one.stdin is not None
        one.stdin.write(b"\n")
        one.stdin.flush()
    said = [one.communicate(timeout=300)[1].decode() for one in programs]
    assert [one.returncode for one in programs] == [0] * 8, "".join(said)
    engine = open_store(url)
    assert len(Accounts(engine, names=ReservedNames(0)).list()) == (3 if schema else 0)
    engine.dispose()


class TestFaults:
    """What an operator is told, by the server's own words."""

    def test_of_no_such_database(self, server: PostgresqlServer, tmp_path: Path) -> None:
        said = chatmailctl(tmp_path, server.url("nowhere"), "account", "list")
        assert (said.returncode, said.stderr.count("\n")) == (66, 1), said.stderr
        assert said.stderr.startswith("Error: create the database and its user, or correct store.url: ")

    def test_of_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        said = chatmailctl(tmp_path, f"postgresql:///store?host={tmp_path}", "account", "list")
        assert (said.returncode, said.stderr.count("\n")) == (69, 1), said.stderr
        assert said.stderr.startswith("Error: start the database server, or correct store.url: ")

    def test_of_a_database_of_somebody_else(self, server: PostgresqlServer, tmp_path: Path) -> None:
        with server.admin() as admin:
            admin.execute("CREATE DATABASE others")
        said = chatmailctl(tmp_path, server.url("others"), "account", "list")
        assert (said.returncode, said.stderr.count("\n")) == (77, 1), said.stderr
        assert said.stderr.startswith("Error: let the user in store.url own the database: ")

    def test_of_a_newer_program(self, url: str, tmp_path: Path) -> None:
        with open_store(url).begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '4'")
        for words in (("account", "list"), ("config", "check")):
            said = chatmailctl(tmp_path, url, *words)
            assert said.returncode == 65
            assert said.stderr == (
                "Error: install the newer program again, which made this store (schema 4; here 3)\n"
            )

    def test_the_check_of_the_configuration_changes_nothing(self, url: str, tmp_path: Path) -> None:
        empty = "The store is empty. The first program that opens it creates its tables.\n"
        for _ in range(2):
            said = chatmailctl(tmp_path, url, "config", "check")
            assert (said.returncode, said.stdout) == (0, "The configuration is fine.\n" + empty)
        open_store(url).dispose()
        said = chatmailctl(tmp_path, url, "config", "check")
        assert said.stdout.endswith("The store is fine, with schema 3.\n")
