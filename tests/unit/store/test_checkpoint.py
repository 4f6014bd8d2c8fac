"""A copy of `store.sqlite` alone is complete soon after the last commit, and after the programs end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from chatmail_milter.store import checkpoint
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.checkpoint import Checkpoints
from chatmail_milter.store.engine import open_store
from tests import stores
from tests.chat.deadline import until

ALICE = "alice123@a.example"


def wal(directory: Path) -> int:
    """Octets of the log."""
    log = directory / "store.sqlite-wal"
    return log.stat().st_size if log.exists() else 0


@pytest.fixture
def quick(tmp_path: Path) -> Engine:
    """A store whose checkpoints come quickly, and not by its engine's own rule."""
    open_store(f"sqlite:///{tmp_path}/store.sqlite").dispose()
    engine = create_engine(f"sqlite:///{tmp_path}/store.sqlite")
    Checkpoints(engine, quiet=0.05, latest=0.2)
    return engine


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Another program that reads what is there now, and takes its time."""
    with closing(sqlite3.connect(directory / "store.sqlite")) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM accounts").fetchone()
        yield


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Another program in the midst of a transaction."""
    with closing(sqlite3.connect(directory / "store.sqlite")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def test_within_seconds() -> None:
    assert checkpoint.QUIET <= 10
    assert checkpoint.LATEST <= 60


def test_what_was_committed_is_in_the_file_soon(tmp_path: Path, quick: Engine) -> None:
    Accounts(quick).create(ALICE, "{PLAIN}x")
    until("the file has it", lambda: stores.alone(tmp_path) == {ALICE}, 10, every=0.02)
    until("the log is empty", lambda: wal(tmp_path) == 0, 10, every=0.02)


def test_a_store_that_was_just_made_is_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "QUIET", 0.05)
    engine = open_store(f"sqlite:///{tmp_path}/store.sqlite")
    with engine.connect():
        until("the log is empty", lambda: wal(tmp_path) == 0, 30)
    with closing(sqlite3.connect(f"file:{tmp_path}/store.sqlite?immutable=1", uri=True)) as connection:
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'accounts'").fetchone()


def test_also_where_commits_never_pause(tmp_path: Path, quick: Engine) -> None:
    accounts, number = Accounts(quick), 0

    def written() -> bool:
        nonlocal number
        number += 1
        accounts.create(f"alice{number:05}@a.example", "{PLAIN}x")
        return bool(stores.alone(tmp_path))

    # Each goes in before the pause is over.
    until("the file has some", written, 20, every=0.01)


@pytest.mark.parametrize("other", [reading, writing])
def test_it_is_tried_again_where_another_program_was_busy_with_the_store(
    tmp_path: Path,
    quick: Engine,
    other: Callable[[Path], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results: list[bool] = []

    def tried(engine: Engine) -> bool:
        results.append(real(engine))
        return results[-1]

    real = checkpoint._checkpoint
    monkeypatch.setattr(checkpoint, "_checkpoint", tried)
    if other is reading:
        with other(tmp_path):
            # Who writes is not hindered.
            Accounts(quick).create(ALICE, "{PLAIN}x")
            until("it was tried", lambda: False in results, 10, every=0.02)
    else:
        Accounts(quick).create(ALICE, "{PLAIN}x")
        with other(tmp_path):
            until("it was tried", lambda: results, 10, every=0.02)
    # (An earlier one may have worked, before there was anything to write.)
    until("it has worked", lambda: results[-1] and stores.alone(tmp_path) == {ALICE}, 10, every=0.02)


def test_a_store_that_fails_is_said_once_and_ends_nothing(
    tmp_path: Path, quick: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    Accounts(quick).create(ALICE, "{PLAIN}x")
    quick.dispose()

    def is_a_directory() -> bool:
        for one in tmp_path.glob("store.sqlite*"):
            one.unlink(missing_ok=True)
        try:
            (tmp_path / "store.sqlite").mkdir()
        except FileExistsError:  # a checkpoint has just opened it again
            return False
        return True

    until("the file is no file", is_a_directory, 10, every=0.001)
    until("it is said", lambda: "event=no-checkpoint error=OperationalError" in caplog.text, 10, every=0.02)
    assert str(tmp_path) not in caplog.text
