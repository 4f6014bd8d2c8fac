"""Circuit breaker: while several attempts to a domain hang, no more are made, so that workers stay free.

In memory, per process. The endpoint cache has what outlasts an attempt.
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
    """The current attempts, by domain. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started: dict[str, list[float]] = {}

    def is_open(self, domain: str) -> bool:
        """Whether so many attempts to `domain` hang that no other should be made."""
        late = self._clock() - HANGING_AFTER
        with self._lock:
            return sum(started < late for started in self._started.get(domain, ())) >= HANGING_ATTEMPTS

    def open_domains(self) -> dict[str, float]:
        """Domains with an open breaker, and the seconds that the attempt has hung which must end first."""
        now = self._clock()
        with self._lock:
            waited_for = {
                domain: sorted(started for started in all_started if started < now - HANGING_AFTER)
                for domain, all_started in self._started.items()
                if len(all_started) >= HANGING_ATTEMPTS
            }
        return {
            domain: now - late[-HANGING_ATTEMPTS]
            for domain, late in waited_for.items()
            if len(late) >= HANGING_ATTEMPTS
        }

    def is_tried(self, domain: str) -> bool:
        """Whether an attempt is in progress."""
        with self._lock:
            return domain in self._started

    @contextmanager
    def attempt(self, domain: str, allowance: float = 0.0) -> Iterator[None]:
        """Context of an attempt. `allowance`: seconds that its message may take longer than a small one."""
        started = self._clock() + allowance
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
