"""How much a piece of Python does, counted: the same on every machine, however busy.

A step is a line that ran. Octets are those of each text that a line made, that a function was handed, or that
a method found kept in its object: what is done in C shows no lines, but reads these. A regular expression can
read them many times over, and for that there is `HANG`.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

# Seconds for what is over in one, unless it never is (C's work can't be counted): a deadline, no measure.
HANG = 60.0

_TEXTS = frozenset((bytes, bytearray, str, memoryview))
_OURS = __file__.rpartition("/")[0]


def work(run: Callable[[], object]) -> int:
    """Steps and octets of `run`; what the tests' own modules do is left out."""
    count = 0

    def held(frame: FrameType) -> int:
        """The octets kept in the object of a method."""
        this = frame.f_locals.get("self")
        names: Iterable[str] = getattr(this, "__dict__", {}) or getattr(type(this), "__slots__", ())
        octets = 0
        for name in names:
            value: Any = getattr(this, name, None)
            if type(value) in _TEXTS:
                octets += len(value)
        return octets

    def enter(frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
        nonlocal count
        if frame.f_code.co_filename.startswith(_OURS):
            return None
        count += 1 + held(frame)
        # By identity: a text that is merely handed on within the function is no new one.
        seen: dict[str, int] = {}

        def line(frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any]:
            nonlocal count
            count += 1
            for name, value in frame.f_locals.items():
                if type(value) in _TEXTS and seen.get(name) != id(value):
                    seen[name] = id(value)
                    count += len(value)
            return line

        return line(frame, _event, _argument)

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def assert_linear(run: Callable[[int], object], size: int) -> None:
    """Of four times the size, `run` does no more than four times the work (16 times, if by the square)."""
    assert work(lambda: run(size)) <= 4.2 * work(lambda: run(size // 4))


def peak(run: Callable[[], object]) -> int:
    """By how many octets the memory in use grew at most."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
