"""CONTRIBUTING's table of rooms is what the code imports."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PACKAGES = ("chatmail_milter", "mxdeliv_app")
# What reaches outside of a process: pure rooms are given octets and times.
IMPURE = {"asyncio", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"}
PURE = (
    "chatmail_milter/gate/",
    "chatmail_milter/rules/",
    "chatmail_milter/accounts/capacity.py",
    "chatmail_milter/accounts/registration.py",
    "mxdeliv_app/mxdeliv/wire.py",
    "mxdeliv_app/mxdeliv/peer_answer.py",
)


def rooms() -> Iterator[tuple[str, set[str] | None]]:
    """Each path in the table and what its row lets it import, None for anything of ours."""
    allowed: set[str] = set()
    for line in (TOP / "CONTRIBUTING.md").read_text("utf-8").splitlines():
        if not line.startswith(tuple(f"| `{package}/" for package in PACKAGES)):
            continue
        paths, _, imports = line.strip("| ").split("|")
        names = set(re.findall(r"`(\w+)`", imports))
        allowed = names | allowed if "the same" in imports else names
        folder = paths.strip().strip("`").rpartition("/")[0]
        for path in re.findall(r"`([^`]+)`", paths):
            yield path if "/" in path else f"{folder}/{path}", None if "the above" in imports else allowed


ROOMS = dict(rooms())


def files(room: str) -> list[Path]:
    """The modules of a room, without those of rooms inside it."""
    return [TOP / room] if room.endswith(".py") else sorted((TOP / room).glob("*.py"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """The modules that a module imports, by full name; of a package the names taken from it."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for one in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(one, ast.Import):
            yield from (alias.name for alias in one.names)
        elif isinstance(one, ast.ImportFrom) and one.module:
            whole = one.module in PACKAGES
            yield from (f"{one.module}.{alias.name}" for alias in one.names) if whole else [one.module]


def ours(path: Path) -> Iterator[tuple[str, str]]:
    """Package and module or subpackage of each import of ours."""
    for name in imports(path):
        if name.startswith(tuple(f"{package}." for package in PACKAGES)):
            package, module = name.split(".")[:2]
            yield package, module


def test_the_table_has_every_package() -> None:
    there = {
        f"{found.parent.relative_to(TOP)}/" for package in PACKAGES for found in (TOP / package).rglob("*.py")
    }
    assert there - ROOMS.keys() == {"chatmail_milter/", "mxdeliv_app/"}
    assert all(files(room) for room in ROOMS)


@pytest.mark.parametrize("room", [room for room, allowed in ROOMS.items() if allowed is not None])
def test_a_room_imports_what_the_table_lets_it(room: str) -> None:
    allowed = ROOMS[room]
    assert allowed
    own = tuple(room.strip("/").split("/"))
    for path in files(room):
        for package, module in ours(path):
            inside = (package, module)[: len(own)] == own
            assert inside or package in allowed or module in allowed, (
                f"{path.name} imports {package}.{module}"
            )


def test_chatmail_milter_never_imports_mxdeliv_app() -> None:
    for path in (TOP / "chatmail_milter").rglob("*.py"):
        assert all(package == "chatmail_milter" for package, _ in ours(path)), path.name


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_imports_no_framework_and_nothing_that_reaches_outside(room: str) -> None:
    for path in files(room):
        tops = {name.partition(".")[0] for name in imports(path)}
        assert tops.isdisjoint(IMPURE), path.name
        # Values are checked by msgspec; it has no I/O.
        assert tops - sys.stdlib_module_names - {*PACKAGES, "msgspec"} == set(), path.name


def test_two_files_know_pymilter() -> None:
    found = {
        path.name
        for path in (TOP / "chatmail_milter").rglob("*.py")
        if {"milter", "Milter"} & {*imports(path)}
    }
    assert found == {"daemon.py", "session.py"}
