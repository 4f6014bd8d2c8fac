"""Waiting with a bound: nothing in the demo or the tests waits for ever, and nothing sleeps as a guess.

`until` polls a condition; `deadline` bounds any blocking code of the main thread (a socket, a subprocess, a
call into the chat core) by SIGALRM. Both raise `LateError`, which says what was waited for.

Seconds are those that a thing takes at most where little else runs. Each bound strikes after `PATIENCE` times
as many, so that a busy machine makes a test slow and not red: what is late then never comes.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

Key = TypeVar("Key")
T = TypeVar("T")

PATIENCE = 5


class LateError(AssertionError):
    """What was waited for did not happen in its time."""


def until(what: str, ready: Callable[[], T | None], seconds: float, every: float = 0.1) -> T:
    """The first truthy value of `ready()`, asked every `every` seconds; `LateError` when it is late."""
    value = polled(ready, seconds, every)
    if value is None:
        raise LateError(f"{what}: not within {seconds * PATIENCE:g} s")
    return value


def polled(ready: Callable[[], T | None], seconds: float, every: float) -> T | None:
    """The same; None when it is late."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > end:
            return None
        time.sleep(every)


@contextmanager
def at_once(wait: Callable[[Key], T], keys: Iterable[Key]) -> Iterator[Mapping[Key, Future[T]]]:
    """Calls `wait` with each key, in threads. Yields the futures; the block ends when all have ended.

    So the waits of several tests all begin when the first wants its result: one by one they take minutes.
    """
    every = list(keys)
    with ThreadPoolExecutor(len(every)) as pool:
        yield {key: pool.submit(wait, key) for key in every}


@contextmanager
def deadline(what: str, seconds: float) -> Iterator[None]:
    """Bounds the block. One inside another is fine: the nearer one strikes first."""

    seconds *= PATIENCE

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise LateError(f"{what}: not within {seconds:g} s")

    began = time.monotonic()
    outer_handler = signal.signal(signal.SIGALRM, late)
    outer_left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    if 0 < outer_left < seconds:
        signal.signal(signal.SIGALRM, outer_handler)
        signal.setitimer(signal.ITIMER_REAL, outer_left)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer_handler)
        if outer_left:
            left = outer_left - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))
