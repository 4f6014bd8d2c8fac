"""Waits of several tests, all begun when the first of them wants its result: one by one they take minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


@contextmanager
def at_once(wait: Callable[[Key], Result], keys: Iterable[Key]) -> Iterator[Mapping[Key, Future[Result]]]:
    """Calls `wait` with each key, in threads. Yields the futures; the block ends when all have ended."""
    every = list(keys)
    with ThreadPoolExecutor(len(every)) as pool:
        yield {key: pool.submit(wait, key) for key in every}
