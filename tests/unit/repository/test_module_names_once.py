"""No name is assigned twice at the top of a module: the second would silently replace the first."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import chatmail_milter
import mxdeliv_app

PACKAGES = [Path(module.__file__ or "").parent for module in (chatmail_milter, mxdeliv_app)]


def assigned(source: str) -> Iterator[str]:
    """The names that a module assigns to, at its top level."""
    for statement in ast.parse(source).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def twice(source: str) -> list[str]:
    return [name for name, times in Counter(assigned(source)).items() if times > 1]


def test_what_is_assigned_twice_is_found() -> None:
    assert twice("BUSY = 421\nIDLE = 421\nBUSY = 450\n") == ["BUSY"]


def test_no_module_assigns_to_a_name_twice() -> None:
    files = [file for package in PACKAGES for file in package.rglob("*.py")]
    assert len(files) > 100
    assert {file.name: found for file in files if (found := twice(file.read_text()))} == {}
