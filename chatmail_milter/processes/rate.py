"""How often each of our users may send: the generic cell rate algorithm (ITU-T I.371, annex A).

A user has a time by which all that was taken is worn off, one interval for each taking. They may take while
that time is less than `burst` intervals ahead: `burst` at once, then one each interval. The times are kept by
`ratelimit.py`; one that has passed says no more than none.
"""

from __future__ import annotations

from dataclasses import dataclass

# Times are whole microseconds, multiplied by the number per minute: then an interval is whole as well, and
# no sum of them is off by a rounding.
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_minute` takings in the long run, `burst` at once. 0 per minute: no limit."""

    per_minute: int
    burst: int

    def __post_init__(self) -> None:
        if self.per_minute < 0 or self.burst < 1:
            raise ValueError("wants 0 or more per minute, and a burst of 1 or more")

    def time(self, seconds: float) -> int:
        """A time (monotonic clock) in the unit of the other functions."""
        return round(seconds * _SECOND) * self.per_minute

    def taken(self, worn_off: int, time: int) -> int | None:
        """When all is worn off after one more taking at `time`; None if that may not be."""
        if worn_off - time > (self.burst - 1) * _MINUTE:
            return None
        return self.charged(worn_off, time)

    def charged(self, worn_off: int, time: int) -> int:
        """The same, whether it may be or not."""
        return max(worn_off, time) + _MINUTE
