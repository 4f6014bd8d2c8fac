"""How often each of our users may send: the generic cell rate algorithm (ITU-T I.371, annex A).

A key has a time by which all that it took is worn off, one interval for each taking. It may take while that
time is less than `burst` intervals ahead: `burst` at once, then one each interval. Nothing is counted and
nothing runs in the background; what has worn off says no more than what was never there, so it is dropped
with the whole generation of keys that were last heard of when it was.
"""

from __future__ import annotations

import threading

# Times are whole microseconds, multiplied by the number per minute: then an interval is whole as well, and
# no sum of them is off by a rounding.
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND


class Limiter:
    """`per_minute` takings by each key in the long run, `burst` at once. 0 per minute: no limit."""

    def __init__(self, per_minute: int, burst: int) -> None:
        if per_minute < 0 or burst < 1:
            raise ValueError("wants 0 or more per minute, and a burst of 1 or more")
        self._per_minute = per_minute
        self._ahead = (burst - 1) * _MINUTE
        # After this long without a taking, nothing of a key is left to remember.
        self._generation = burst * _MINUTE
        self._begun = 0
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, key: str, now: float) -> bool:
        """Whether `key` may, at `now` (monotonic, seconds); if it may not, nothing was taken."""
        if not self._per_minute:
            return True
        time = round(now * _SECOND) * self._per_minute
        with self._lock:
            if time - self._begun >= self._generation:
                self._old, self._young, self._begun = self._young, {}, time
            worn_off = self._young.get(key) or self._old.get(key, 0)
            if worn_off - time > self._ahead:
                return False
            self._young[key] = max(worn_off, time) + _MINUTE
            return True

    @property
    def remembered(self) -> int:
        """How many keys something is known of."""
        return len(self._young.keys() | self._old.keys())
