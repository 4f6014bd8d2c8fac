"""Docstrings and comments name modules, and what is in them, as the code does: after a renaming, too."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from chatmail_milter.config import Config
from tests.unit.repository.test_rooms import MODULES, imports, tree

# `module.name`, also with a class between them. One letter is a tag of DKIM (`header.d`).
NAMED = re.compile(r"`(?P<module>[a-z_]+)\.(?:[A-Za-z_]+\.)?(?P<inside>[A-Za-z_]{2,})(?:\(\))?`")
FILES = {"conf", "html", "json", "py", "sqlite", "tar", "toml", "zone"}
# Examples and names of others: a domain, a key, a variable of WSGI, a unit.
NO_MODULES = {"b", "section", "wsgi", "chatmail"}


def prose(path: Path) -> Iterator[str]:
    """Docstrings and comments of a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    yield from re.findall(r"(?m)^ *#.*$|  # .*$", path.read_text("utf-8"))


def words() -> dict[str, set[str]]:
    """The words of each module, by its name; those of a room are its modules'."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in MODULES.values():
        inside = {*re.findall(r"\w+", path.read_text("utf-8")), path.stem}
        found[path.stem] |= inside
        found[path.parent.name] |= inside
    return found


def test_what_prose_names_in_a_module_is_there() -> None:
    inside = words()
    settings = {field.name for field in msgspec.structs.fields(Config)}
    libraries = {name.partition(".")[0] for path in MODULES.values() for name in imports(path)}
    others = settings | libraries | NO_MODULES | sys.stdlib_module_names
    named = 0
    for path in MODULES.values():
        for text in prose(path):
            for one in NAMED.finditer(text):
                if one["inside"] in FILES:
                    continue
                named += one["module"] in inside
                assert one["module"] in others or one["inside"] in inside[one["module"]], f"{path}: {one[0]}"
    assert named > 30
