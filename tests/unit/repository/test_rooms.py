"""The code imports what `rooms.py` says, and nothing in a circle; CONTRIBUTING's table says the same."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.unit.repository.rooms import ROOMS, Room, rows

TOP = Path(__file__).resolve().parents[3]
PACKAGES = ("chatmail_milter", "mxdeliv_app")
# Folders of unit tests for what is no room of the code; `vocabulary` is `chatmail_milter/` itself.
NO_ROOMS = {"vocabulary", "ansible", "deb", "repository"}
# What reaches outside of a process: pure rooms are given octets and times.
IMPURE = {"asyncio", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"}
PURE = (
    "chatmail_milter/address.py",
    "chatmail_milter/codes.py",
    "chatmail_milter/verdict.py",
    "chatmail_milter/gate",
    "chatmail_milter/rules",
    "mxdeliv_app/mxdeliv/wire.py",
    "mxdeliv_app/mxdeliv/peer_answer.py",
)


def module(path: Path) -> str:
    """The full name of the module in a file."""
    parts = path.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for package in PACKAGES for path in (TOP / package).rglob("*.py")}


@cache
def tree(path: Path) -> ast.Module:
    """A file as it is parsed."""
    return ast.parse(path.read_text("utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """What a file imports, wherever in it: modules of ours by full name, others as they are named."""
    return frozenset(_imports(path))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Each statement, however deep: an import is no part of an expression, and those are most of a tree."""
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.stmt | ast.excepthandler | ast.match_case):
            yield one
            yield from statements(one)


def _imports(path: Path) -> Iterator[str]:
    for one in statements(tree(path)):
        if isinstance(one, ast.Import):
            yield from (alias.name for alias in one.names)
        elif isinstance(one, ast.ImportFrom) and one.module:
            for alias in one.names:
                inside = f"{one.module}.{alias.name}"
                yield inside if inside in MODULES else one.module


def ours(name: str) -> set[str]:
    """The modules of ours that a module imports."""
    return {other for other in imports(MODULES[name]) if other in MODULES and other != name}


def room_of(name: str) -> str:
    """The folder of a module's room: two deep, with what is inside it."""
    parent = MODULES[name].relative_to(TOP).parent
    return "/".join(parent.parts[:2])


def test_each_module_is_in_a_room_of_the_table() -> None:
    here = {room_of(name) for name in MODULES} - {"mxdeliv_app"}
    assert here == {room.folder for room in ROOMS}
    assert len(tree(MODULES["mxdeliv_app"]).body) == 1  # its docstring


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.folder)
def test_a_room_imports_what_the_table_says_and_lists_nothing_else(room: Room) -> None:
    members = [name for name in MODULES if room_of(name) == room.folder]
    others = {room_of(other) for name in members for other in ours(name)} - {room.folder, ROOMS[0].folder}
    assert {folder.rpartition("/")[2] for folder in others} == set(room.imports)


def test_a_room_imports_only_rooms_above_it() -> None:
    for number, room in enumerate(ROOMS):
        assert {*room.imports} <= {above.name for above in ROOMS[:number]}, room.folder
    assert len({room.name for room in ROOMS}) == len(ROOMS)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: ours(name) for name in MODULES}
    assert sum(map(len, graph.values())) > 500
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_no_two_classes_have_one_name() -> None:
    found = Counter(
        one.name for path in MODULES.values() for one in tree(path).body if isinstance(one, ast.ClassDef)
    )
    assert {name for name, number in found.items() if number > 1} == set()


def test_contributing_has_the_table() -> None:
    assert rows() in (TOP / "CONTRIBUTING.md").read_text("utf-8")


def test_chatmail_milter_never_imports_mxdeliv_app() -> None:
    for name, path in MODULES.items():
        if name.startswith("chatmail_milter"):
            assert not [other for other in imports(path) if other.startswith("mxdeliv_app")], name


@pytest.mark.parametrize("place", PURE)
def test_a_pure_room_imports_no_framework_and_nothing_that_reaches_outside(place: str) -> None:
    paths = [TOP / place] if place.endswith(".py") else sorted((TOP / place).glob("*.py"))
    assert paths
    for path in paths:
        tops = {name.partition(".")[0] for name in imports(path)}
        assert tops.isdisjoint(IMPURE), path.name
        # Libraries without I/O.
        assert tops - sys.stdlib_module_names - {*PACKAGES, "idna", "msgspec"} == set(), path.name


def test_a_pure_room_takes_of_the_vocabulary_what_is_pure() -> None:
    for place in PURE:
        paths = [TOP / place] if place.endswith(".py") else (TOP / place).glob("*.py")
        named = {other for path in paths for other in imports(path)}
        assert named.isdisjoint({"chatmail_milter.lazy", "chatmail_milter.systemd"}), place


def test_unit_tests_are_in_folders_with_the_names_of_the_rooms() -> None:
    unit = TOP / "tests/unit"
    rooms = {room.name for room in ROOMS[1:]} - {"serving"}  # which tests/blackbox starts under gunicorn
    assert {path.parent.name for path in unit.glob("*/test_*.py")} == rooms | NO_ROOMS
    assert [*unit.glob("test_*.py")] == []


def test_two_files_know_pymilter() -> None:
    found = {path.name for path in MODULES.values() if {"milter", "Milter"} & {*imports(path)}}
    assert found == {"daemon.py", "session.py"}
