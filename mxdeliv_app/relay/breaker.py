"""One dead peer must not hold all workers: who keeps several of them waiting is not waited for again.

In memory, per process: what outlives an attempt is the endpoint cache's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Four attempts that have taken longer than a slow peer's 5 MB usually does.
HANGING_ATTEMPTS = 4
HANGING_AFTER = 5.0  # seconds


class Breaker:
    """Attempts under way, by domain; safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started: dict[str, list[float]] = {}

    def is_open(self, domain: str) -> bool:
        """Whether `domain` keeps so many attempts hanging that another should not be made."""
        late = self._clock() - HANGING_AFTER
        with self._lock:
            return sum(started < late for started in self._started.get(domain, ())) >= HANGING_ATTEMPTS

    @contextmanager
    def attempt(self, domain: str) -> Iterator[None]:
        """Around each attempt."""
        started = self._clock()
        with self._lock:
            self._started.setdefault(domain, []).append(started)
        try:
            yield
        finally:
            with self._lock:
                under_way = self._started[domain]
                under_way.remove(started)
                if not under_way:
                    del self._started[domain]
