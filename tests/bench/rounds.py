"""Taking turns: every case once per round, and another one first each time, so that no case is favoured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from tests.bench.table import Measured

T = TypeVar("T")


def interleaved(cases: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each case returned, round by round."""
    names = list(cases)
    seen: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seen[name].append(cases[name]())
    return seen


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this thread for one call: others on the machine take none of it."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def timed(cases: Mapping[str, Callable[[], object]], rounds: int, scale: float = 1.0) -> dict[str, Measured]:
    """CPU seconds of each case, times `scale`."""
    clocked = {name: lambda work=work: cpu_seconds(work) * scale for name, work in cases.items()}
    return {name: Measured.of(times) for name, times in interleaved(clocked, rounds).items()}
