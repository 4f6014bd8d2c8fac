"""No test passes or fails by elapsed time; `make bench` measures that."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).resolve().parents[2]
# What measures, and says so.
MEASURES = ("bench", "demo", "faults", "fuzz")
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "time"}
# Files without a call that looks like one of these need no parser, which takes long.
CALL = re.compile(rf"\b({'|'.join(CLOCKS)})\s*\(")


def too_late(tree: ast.AST) -> Iterator[int]:
    """The lines of assertions that something is less than so and so many seconds by a clock."""
    for one in ast.walk(tree):
        if isinstance(one, ast.Assert):
            for compared in (each for each in ast.walk(one.test) if isinstance(each, ast.Compare)):
                sides = [compared.left, *compared.comparators]
                for operator, left, right in zip(compared.ops, sides, sides[1:], strict=False):
                    if isinstance(operator, ast.Lt | ast.LtE) and reads_clock(left):
                        yield compared.lineno
                    if isinstance(operator, ast.Gt | ast.GtE) and reads_clock(right):
                        yield compared.lineno


def reads_clock(tree: ast.AST) -> bool:
    calls = (one.func for one in ast.walk(tree) if isinstance(one, ast.Call) and not one.args)
    names = (call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls)
    return not CLOCKS.isdisjoint(names)


@pytest.mark.parametrize(
    ("text", "late"),
    [
        ("assert time.monotonic() - began < 2", True),
        ("assert 0.5 < monotonic() - began < 20", True),
        ("assert began + 60 >= time.time()", True),
        ("assert time.process_time() - begun < 0.05", True),
        ("assert time.monotonic() - began > 2.5", False),
        ("assert len(found) < 3", False),
    ],
)
def test_is_seen_where_it_is(text: str, late: bool) -> None:
    assert bool([*too_late(ast.parse(text))]) is late
    assert CALL.search(text) or not late


def test_no_test_asks_whether_something_was_soon_enough() -> None:
    files = [file for file in TESTS.rglob("*.py") if file.relative_to(TESTS).parts[0] not in MEASURES]
    assert len(files) > 200
    texts = {file: file.read_text() for file in files}
    found = [
        f"{file.relative_to(TESTS)}:{line}"
        for file, text in texts.items()
        if CALL.search(text)
        for line in too_late(ast.parse(text))
    ]
    assert found == []


def test_hypothesis_counts_no_seconds() -> None:
    assert settings.default is not None
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
