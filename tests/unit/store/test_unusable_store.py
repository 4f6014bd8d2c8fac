"""With an unusable store, each command prints one line of advice, and creates no store by mistake."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.ctl.main import main
from chatmail_milter.mailboxes import expire
from chatmail_milter.store import fault
from chatmail_milter.store.engine import existing_store, open_store
from tests import stores
from tests.unit.chatmailctl import run

TOP = Path(__file__).resolve().parents[3]
# `queue flush` alone asks what is known of peers.
WITHOUT_STORE = {
    *("dns", "doctor", "config example", "config show", "gate check", "queue", "admin hash"),
    *("calls publish", "calls rotate"),
    *(f"queue {order}" for order in ("list", "show", "hold", "release", "delete")),
    # These say in lines of their own what they had to leave out, or ask for a directory first.
    *("backup", "metrics", "reasons", "restore", "status", "trace"),
}
# What a parameter takes that is neither an address nor a domain, and what keeps a command from asking.
VALUES = {"target": "mx.b.test"}
BESIDES = {"account password": ["--random"]}


@pytest.fixture
def store(store: str, tmp_path: Path) -> str:
    """One without tables, as the playbook leaves it."""
    (tmp_path / "store.sqlite").write_bytes(b"")
    return store


def leaves(group: click.Group, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield (*words, name), command
            yield from leaves(command, *words, name)
        elif not command.deprecated:  # an earlier name, which warns in a line of its own
            yield (*words, name), command


COMMANDS = {" ".join(words): command for words, command in leaves(main)}


def value(parameter: click.Parameter, file: Path) -> str:
    """Something that a parameter takes."""
    name = (parameter.name or "").lower()
    if isinstance(parameter.type, click.Choice):
        return str(parameter.type.choices[0])
    if isinstance(parameter.type, (click.File, click.Path)):
        return str(file)
    if isinstance(parameter.type, (click.types.IntParamType, click.types.FloatParamType)):
        return "1"
    for part, text in VALUES.items():
        if part in name:
            return text
    return "b.test" if "domain" in name else "alice123@a.test"


def line(name: str, file: Path) -> list[str]:
    """The command with all that it needs."""
    words = [*name.split(), *BESIDES.get(name, ())]
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Argument):
            words.append(value(parameter, file))
        elif parameter.required:
            words += [parameter.opts[0], value(parameter, file)]
    return words


def corrupt(path: Path) -> None:
    path.write_bytes(b"no store at all " * 1000)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def missing(path: Path) -> None:
    path.unlink()


def newer(path: Path) -> None:
    open_store(f"sqlite:///{path}").dispose()
    with sqlite3.connect(path) as store:
        store.execute("UPDATE alembic_version SET version_num = '4'")


def of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as store:
        store.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        store.execute("INSERT INTO alembic_version VALUES ('1975ea83b712')")


def damaged(path: Path) -> None:
    """A page of the table of accounts is overwritten; the file's header is not."""
    open_store(f"sqlite:///{path}").dispose()
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA journal_mode = DELETE")
        page, size = (
            store.execute(f"{one}").fetchone()[0]
            for one in ("SELECT rootpage FROM sqlite_master WHERE name = 'accounts'", "PRAGMA page_size")
        )
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def without_a_table(path: Path) -> None:
    open_store(f"sqlite:///{path}").dispose()
    with sqlite3.connect(path) as store:
        store.execute("DROP TABLE routes")


def without_a_column(path: Path) -> None:
    open_store(f"sqlite:///{path}").dispose()
    with sqlite3.connect(path) as store:
        store.execute("ALTER TABLE routes DROP COLUMN target")


def made(directory: Path) -> list[str]:
    """All files but those that SQLite keeps beside an open store."""
    return sorted(one.name for one in directory.iterdir() if not one.name.endswith(("-wal", "-shm")))


# What was done to the store, the exit status (sysexits.h), and how the line begins.
FAULTS: list[tuple[Callable[[Path], None], int, str]] = [
    (corrupt, 65, "correct store.url, or restore the store from a copy: file is not a database"),
    (directory, 78, "correct store.url, which names a directory: "),
    (missing, 66, "correct store.url, or run the playbook, which makes a store: there is no "),
    (newer, 65, "install the newer program again, which made this store (schema 4; here 3)"),
    (of_another_program, 65, "install the newer program again, "),
]


@pytest.mark.parametrize(
    ("spoil", "status", "begins"),
    [
        *FAULTS,
        (damaged, 65, "restore the store from a copy: "),
        (without_a_table, 65, "restore the store from a copy: it has no table routes"),
        (without_a_column, 65, "restore the store from a copy: table routes has no column target"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_the_check_of_the_configuration_says_what_is_wrong_with_the_store(
    spoil: Callable[[Path], None], status: int, begins: str, store: str, tmp_path: Path
) -> None:
    spoil(tmp_path / "store.sqlite")
    before = made(tmp_path)
    result = run("config", "check")
    assert (result.exit_code, result.stdout) == (status, "The configuration is fine.\n"), result.output
    assert result.stderr.startswith(f"Error: {begins}")
    assert made(tmp_path) == before


def test_the_check_of_the_configuration_changes_nothing_in_the_store(store: str, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"

    def said() -> str:
        before = path.read_bytes()
        result = run("config", "check")
        assert (result.exit_code, path.read_bytes()) == (0, before), result.output
        return result.stdout.splitlines()[1]

    assert said() == "The store is empty. The first program that opens it creates its tables."
    stores.make(path)
    assert said() == "The store has schema 1. The first program that opens it migrates it to 3."
    open_store(store).dispose()
    assert said() == "The store is fine, with schema 3."


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_STORE - {"config check"}))
def test_every_command_says_in_one_line_what_to_do(
    name: str, store: str, tmp_path: Path, postqueue: Path
) -> None:
    (tmp_path / "store.sqlite").unlink()
    (tmp_path / "mail").mkdir()
    file = tmp_path / "file"
    file.write_text("b.test\n")
    result = run(*line(name, file))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.output.startswith("Error: correct store.url, or run the playbook"), result.output
    assert result.output.count("\n") == 1
    assert result.exit_code == 66
    assert not (tmp_path / "store.sqlite").exists()


@pytest.mark.parametrize(
    ("spoil", "status", "begins"), FAULTS, ids=lambda one: getattr(one, "__name__", None)
)
def test_each_fault_has_its_line_and_its_status(
    spoil: Callable[[Path], None], status: int, begins: str, store: str, tmp_path: Path
) -> None:
    spoil(tmp_path / "store.sqlite")
    before = made(tmp_path)
    result = run("account", "list")
    assert (result.exit_code, result.output.count("\n")) == (status, 1), result.output
    assert result.output.startswith(f"Error: {begins}")
    assert made(tmp_path) == before


@pytest.mark.parametrize(
    ("url", "status", "begins"),
    [
        ("postgresql://u:secret@127.0.0.1:9/x", 69, "start the database server, or correct store.url"),
        ("mysql://u:secret@127.0.0.1:9/x", 78, "install the database driver that store.url names"),
        ("no url", 78, "correct store.url"),
        ("nosuch://u:secret@127.0.0.1/x", 78, "correct store.url"),
        ("sqlite:////no/such/place", 66, "correct store.url"),
    ],
)
def test_a_url_of_nothing_is_one_line_without_the_password(
    url: str, status: int, begins: str, store: str, tmp_path: Path
) -> None:
    file = tmp_path / "chatmail.toml"
    file.write_text(file.read_text().replace(store, url))
    result = run("account", "list")
    assert result.output.startswith(f"Error: {begins}"), result.output
    assert (result.exit_code, result.output.count("\n")) == (status, 1)
    assert "secret" not in result.output


@pytest.mark.parametrize(
    ("said", "status", "begins"),
    [
        ("database is locked", 75, "try again"),
        ("attempt to write a readonly database", 77, "run this as root"),
        ("unable to open database file", 77, "run this as root"),
        ("database or disk is full", 74, "make room"),
        ("database disk image is malformed", 65, "restore the store"),
        ("no such table: accounts", 65, "restore the store"),
        ("connection to server at 127.0.0.1 failed: Connection refused\n\tIs it running?", 69, "start the"),
    ],
)
def test_what_happens_later_is_explained_too(
    said: str, status: int, begins: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    from chatmail_milter.store.accounts import Accounts

    def fails(_: Accounts) -> None:
        raise OperationalError("SELECT x", {"address": "alice123@a.test"}, Exception(said))

    monkeypatch.setattr(Accounts, "list", fails)
    result = run("account", "list")
    assert (result.exit_code, result.output.count("\n")) == (status, 1), result.output
    assert result.output.startswith(f"Error: {begins}")
    assert "alice123" not in result.output


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.touch()
    existing_store(f"sqlite:///{path}").dispose()
    with sqlite3.connect(path) as store:
        assert store.execute("SELECT count(*) FROM accounts").fetchone() == (0,)


def test_a_pass_says_the_same(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mail").mkdir()
    newer(tmp_path / "store.sqlite")
    monkeypatch.setattr(sys, "argv", ["chatmail-expire"])
    with pytest.raises(SystemExit) as ended:
        expire.main(standalone_mode=False)
    assert ended.value.code == 65
    assert re.fullmatch(r"chatmail-expire: install the newer program again, .*\n", capsys.readouterr().err)


def test_no_program_makes_a_store() -> None:
    files = [path for package in ("chatmail_milter", "mxdeliv_app") for path in (TOP / package).rglob("*.py")]
    naming = [path.name for path in files if re.search(r"\bopen_store\(", path.read_text("utf-8"))]
    assert naming == ["engine.py"]


def test_a_lost_store_is_not_replaced_at_boot() -> None:
    described = TOP / "ansible/roles/chatmail/templates/directories.j2"
    assert "/var/lib/chatmail " in described.read_text("utf-8")
    assert "store.sqlite" not in described.read_text("utf-8")


def test_a_missing_driver_is_a_fault_of_the_store() -> None:
    with pytest.raises(SQLAlchemyError):
        open_store("mysql://127.0.0.1:9/x")


def test_where_one_may_not_look_one_is_told_to_be_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store"
    path.touch()
    # Root may do everything.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(fault.StoreError) as told:
        fault.look(f"sqlite:///{path}")
    assert told.value.status == 77
    assert told.value.advice.startswith("run this as root")
