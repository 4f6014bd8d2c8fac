"""Whether a pass that deletes by age may go by the clock: what it deletes can't be had back. Pure.

A clock that is ahead makes everything old. The witness is when the last pass was: one comes every hour, so
where the clock is days further it was set, or the host was off for days.
"""

from __future__ import annotations

# Seconds. An account that is deleted so much too early was unused for 83 of its 90 days.
FURTHEST = 7 * 86400.0


def leapt(last: float | None, now: float) -> float:
    """By how many seconds the clock is too far from the `last` pass to go by it; 0 if it isn't.

    Both in POSIX time; `last` is None before the first pass. A clock that went back makes nothing old.
    """
    gap = 0.0 if last is None else now - last
    return gap if gap > FURTHEST else 0.0
