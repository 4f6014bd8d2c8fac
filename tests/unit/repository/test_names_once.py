"""A class has a name of its own, so that a search finds one; a module assigns to a name once.

`TestX` may be in several files. A second assignment would silently replace the first.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.lab.plan import REPOSITORY

# At the top level of a module. (To parse all files takes 1.4 s in place of 0.2.)
_CLASS = re.compile(r"^class (?!Test)(\w+)", re.M)


def files(*folders: str) -> list[Path]:
    return [file for folder in folders for file in (REPOSITORY / folder).rglob("*.py")]


def classes(source: str) -> list[str]:
    return _CLASS.findall(source)


def assigned(source: str) -> Iterator[str]:
    """The names that a module assigns to, at its top level."""
    for statement in ast.parse(source).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def test_what_is_defined_twice_is_found() -> None:
    sources = ["class Peer: ...\nclass TestPeer: ...\n", "class TestPeer: ...\n", "class Peer: ...\n"]
    assert twice(name for source in sources for name in classes(source)) == ["Peer"]
    assert twice(assigned("BUSY = 421\nIDLE = 421\nBUSY = 450\n")) == ["BUSY"]


def test_each_class_has_a_name_of_its_own() -> None:
    every = files("chatmail_milter", "mxdeliv_app", "tests")
    assert len(every) > 400
    sources = [file.read_text("utf-8") for file in every if "node_modules" not in file.parts]
    assert twice(name for source in sources for name in classes(source)) == []


def test_no_module_assigns_to_a_name_twice() -> None:
    every = files("chatmail_milter", "mxdeliv_app")
    assert len(every) > 100
    assert {file.name: found for file in every if (found := twice(assigned(file.read_text())))} == {}
