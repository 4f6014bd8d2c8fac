"""Scripts that tests run on a host as text import only what is there: no type checker reads them."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
IMPORT = re.compile(
    r"^\s*from ((?:chatmail_milter|mxdeliv_app)[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE
)


def imported() -> Iterator[tuple[str, str, str]]:
    """File, module and name of each import of ours that stands in a string."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for module, names in IMPORT.findall(node.value):
                    for name in re.split(r"[\s,()]+", names.partition("#")[0]):
                        if name:
                            yield str(path.relative_to(TESTS)), module, name


@pytest.mark.parametrize(("file", "module", "name"), sorted(set(imported())))
def test_what_a_script_imports_is_there(file: str, module: str, name: str) -> None:
    package = importlib.import_module(module)
    if not hasattr(package, name):
        importlib.import_module(f"{module}.{name}")
