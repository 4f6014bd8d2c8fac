"""Caches values that are slow to compute: a page shows the last value, and starts a new computation.

So a page is as fast with ten thousand waiting messages, and ten open pages cost as much as one. A value has
the time of its computation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

_T = TypeVar("_T")
SOON = 0.1  # seconds that a page waits for a newer look


@dataclass(frozen=True, slots=True)
class Look(Generic[_T]):
    """A value and the time of its computation."""

    value: _T
    at: datetime


class Snapshot(Generic[_T]):
    """One cached value. Thread-safe. `fresh`: seconds after which a request starts a new computation.

    `first`: seconds that requests wait for the first value, and for the first after `drop`; `soon`: for a
    newer one.
    """

    def __init__(
        self,
        look: Callable[[], _T],
        fresh: float,
        first: float = 30.0,
        soon: float = SOON,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._fresh = fresh
        self._first = first
        self._soon = soon
        self._clock = clock
        self._changed = threading.Condition()
        self._last: Look[_T] | None = None
        self._error: Exception | None = None
        self._looked = float("-inf")
        self._busy = False
        self._wanted = 0

    def get(self) -> Look[_T] | None:
        """The last value; None during the first computation. Raises what the last computation raised."""
        with self._changed:
            known = self._last is not None or self._error is not None
            if self._clock() - self._looked >= self._fresh:
                self._begin()
                self._changed.wait_for(lambda: not self._busy, self._soon if known else self._first)
            if self._error is not None:
                raise self._error
            return self._last

    def drop(self) -> None:
        """Discards the value after a change, so that the next request shows the change."""
        with self._changed:
            self._last, self._error, self._looked = None, None, float("-inf")
            # A look that is under way may have begun before; who waits for it waits for the next.
            self._wanted += 1
            if self._busy:
                self._busy = False
                self._begin()

    def _begin(self) -> None:
        if not self._busy:
            self._busy = True
            threading.Thread(target=self._run, args=(self._wanted,), daemon=True).start()

    def _run(self, wanted: int) -> None:
        value, error = None, None
        at = datetime.now(UTC)
        try:
            value = Look(self._look(), at)
        except Exception as one:  # it is raised where it is asked for
            error = one
        with self._changed:
            if wanted != self._wanted:
                return
            self._last, self._error, self._busy = value, error, False
            self._looked = self._clock()
            self._changed.notify_all()
