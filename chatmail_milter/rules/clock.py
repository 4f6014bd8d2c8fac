"""Detects a system clock that is wrongly ahead, before mail is deleted by age. Pure.

With such a clock all mail and accounts look old, and deletion can't be undone. Expiry runs every hour, so if
the clock is days after the last run, it was set forward, or the host was off for days.
"""

from __future__ import annotations

# Seconds. By default an account expires after 90 unused days; with an undetected error up to this, after 83.
FURTHEST = 7 * 86400.0


def leapt(last: float | None, now: float) -> float:
    """Seconds from the `last` run to `now`, if that is too long to trust the clock; else 0.

    Both in POSIX time; `last` is None before the first run. A clock that was set back is harmless here.
    """
    gap = 0.0 if last is None else now - last
    return gap if gap > FURTHEST else 0.0
