"""Programs that open one store in SQLite together, are killed, or end: as processes of their own."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from tests import stores

# Opens the store that it is given, and says whether it needed Alembic for that.
OPEN = (
    "import sys; from chatmail_milter.store.engine import open_store;"
    "open_store(sys.argv[1]).dispose(); print('alembic' in sys.modules)"
)
# The same, killed by its last statement.
OPEN_AND_DIE = (
    "import os, signal, sys; from sqlalchemy import Engine, event;"
    "from chatmail_milter.store.engine import open_store;"
    "last = 'UPDATE alembic_version SET version_num=\\'2';"
    "die = lambda c, cursor, said, *_: said.startswith(last) and os.kill(os.getpid(), signal.SIGKILL);"
    "event.listen(Engine, 'after_cursor_execute', die); open_store(sys.argv[1])"
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.sqlite"
    stores.make(path)
    return path


def run(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{path}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_program_that_only_opens_a_new_store_makes_all_tables(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    opening = (
        "import sqlite3, sys; from chatmail_milter.store.engine import open_store;"
        "open_store('sqlite:///' + sys.argv[1]).dispose();"
        "print(*(name for name, in sqlite3.connect(sys.argv[1]).execute("
        "\"SELECT name FROM sqlite_master WHERE type = 'table'\")))"
    )
    done = subprocess.run(
        [sys.executable, "-c", opening, path], capture_output=True, text=True, timeout=300, check=True
    )
    assert {"accounts", "breakers", "missing_keys", "recipient_refusals"} <= set(done.stdout.split())


def test_only_a_store_that_is_behind_needs_alembic(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.sqlite"
    new.touch()
    needed = [run(OPEN, path).stdout for path in (new, new, old, old)]
    assert needed == ["False\n", "False\n", "True\n", "False\n"]


def test_a_migration_that_is_killed_leaves_the_store_as_it_was(old: Path) -> None:
    before = stores.rows(old)
    killed = run(OPEN_AND_DIE, old)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert stores.rows(old) == before
    open_store(f"sqlite:///{old}").dispose()
    assert stores.rows(old) == stores.carried(before)


# SQLAlchemy's pool must not cross into another process: none is open where it forks. All that it forks wait
# for the end of the pipe, which comes when the last has closed its copy of the writing end.
_START_TOGETHER = """
import os, sys
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
read, write = os.pipe()
children = []
for number in range(6):
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)
        sys.exit(not Accounts(open_store(sys.argv[1])).create(f"user000{number}@a.example", "{X}"))
    children.append(child)
os.close(write)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_programs_that_start_together_open_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.sqlite"
    subprocess.run([sys.executable, "-c", _START_TOGETHER, url], check=True, timeout=120)
    engine = open_store(url)
    assert inspect(engine).has_table("accounts")
    assert len(list(Accounts(engine).list())) == 6


# A process for each name, forked before any has opened the store. They wait for the end of their input.
_PROGRAMS = """
import os, sys
from chatmail_milter.store import checkpoint
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
url, way, *names = sys.argv[1:]
children = []
for name in names:
    child = os.fork()
    if not child:
        break
    children.append(child)
else:
    sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
engine = open_store(url)
with engine.connect():
    pass
os.write(1, b"ready\\n")  # whole: print writes the end of the line apart where nothing is buffered
os.read(0, 1)
for number in range(20):
    Accounts(engine).create(f"{name}{number:05}@a.example", "{PLAIN}x")
if way == "os._exit":
    checkpoint.finish()
    os._exit(0)
"""


@pytest.mark.parametrize("way", ["exit", "os._exit"])
def test_when_programs_end_side_by_side_it_is_in_the_file(tmp_path: Path, way: str) -> None:
    url = f"sqlite:///{tmp_path}/store.sqlite"
    open_store(url).dispose()
    programs = subprocess.Popen(
        [sys.executable, "-c", _PROGRAMS, url, way, "ann", "ben", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # One more has it open all the time: the last of the others to end is not the last.
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as open_still:
        open_still.execute("SELECT count(*) FROM accounts").fetchone()
        assert programs.stdout is not None
        assert [programs.stdout.readline() for _ in range(3)] == 3 * ["ready\n"]
        programs.communicate()
        assert programs.returncode == 0
        assert len(stores.alone(tmp_path)) == 60
