"""GCRA, the generic cell rate algorithm (ITU-T I.371, annex A), for rate limits per user or client.

Each event advances the key's theoretical arrival time (TAT) by one interval. An event is allowed while the
TAT is less than `burst` intervals ahead of now: so `burst` events at once, then one per interval.
`ratelimit.py` stores the TATs. A TAT in the past is the same as none.
"""

from __future__ import annotations

from dataclasses import dataclass

# Times are integers: microseconds multiplied by the number of events per minute. So an interval is an
# integer, too (`_MINUTE`), and sums are exact.
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_minute`: events allowed per minute on average; 0: no limit. `burst`: events allowed at once."""

    per_minute: int
    burst: int

    def __post_init__(self) -> None:
        if self.per_minute < 0 or self.burst < 1:
            raise ValueError("wants 0 or more per minute, and a burst of 1 or more")

    def time(self, seconds: float) -> int:
        """Converts seconds of the monotonic clock into the unit of the other methods."""
        return round(seconds * _SECOND) * self.per_minute

    def taken(self, tat: int, time: int) -> int | None:
        """The TAT after one more event at `time`; None if that event is not allowed."""
        if tat - time > (self.burst - 1) * _MINUTE:
            return None
        return self.charged(tat, time)

    def charged(self, tat: int, time: int) -> int:
        """The TAT after one more event at `time`, allowed or not."""
        return max(tat, time) + _MINUTE
