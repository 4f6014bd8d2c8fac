"""State of expiry passes: progress of the present one, time of the last, and trust in the clock.

Two files beside the mailboxes. One exists while a pass is running or interrupted, and is locked while it is
running, so that the next can resume an interrupted one. The modification time of the other is the time of
the last pass that trusted the clock. It never goes back, even if a pass ran while the clock was behind.

With a clock that is wrongly ahead, all mail and accounts look old, and deletion can't be undone. Expiry runs
every hour, so if the clock is days after the last pass, it was set forward, or the host was off for days.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_UNDER_WAY = ".expiring"
_LAST = ".expired"
# Seconds. An older interrupted pass is not resumed: the accounts that it processed are due again.
_RESUMED_WITHIN = 86400.0
# Seconds. By default an account expires after 90 unused days; with an undetected error up to this, after 83.
FURTHEST = 7 * 86400.0


class UnderWayError(Exception):
    """Another pass is running."""


class Progress:
    """A context manager for a pass; on entry it raises `UnderWayError` if another is running.

    `now`: POSIX time. `kept`: False for a dry run, which neither reads nor writes the file. `reached`: the
    last address that was processed; addresses are processed in sorted order. `resumed`: whether it was read
    from the file.
    """

    def __init__(self, root: Path, now: float, *, kept: bool) -> None:
        self._path = root / _UNDER_WAY
        self._now = now
        self._kept = kept
        self._file = -1
        self._reached = ""
        self.resumed = False

    def __enter__(self) -> Self:
        if self._kept:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._file)
                raise UnderWayError("another pass is under way") from None
            if self._now - os.fstat(self._file).st_mtime < _RESUMED_WITHIN:
                self._reached = os.read(self._file, 1000).decode()
                self.resumed = bool(self._reached)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept:
            if kind is None:
                with suppress(FileNotFoundError):
                    self._path.unlink()
            os.close(self._file)

    @property
    def reached(self) -> str:
        return self._reached

    @reached.setter
    def reached(self, user: str) -> None:
        self._reached = user
        if self._kept:
            os.pwrite(self._file, user.encode(), 0)
            os.ftruncate(self._file, len(user.encode()))


def last(root: Path) -> float | None:
    """POSIX time of the last pass; None before the first."""
    try:
        return (root / _LAST).stat().st_mtime
    except FileNotFoundError:
        return None


def record_pass(root: Path, now: float) -> None:
    """Records a pass at `now` (POSIX time)."""
    if (last(root) or 0.0) < now:
        file = os.open(root / _LAST, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.utime(file, (now, now))
        os.close(file)


def leapt(last: float | None, now: float) -> float:
    """Seconds from the `last` run to `now`, if that is too long to trust the clock; else 0.

    Both in POSIX time; `last` is None before the first run. A clock that was set back is harmless here.
    """
    gap = 0.0 if last is None else now - last
    return gap if gap > FURTHEST else 0.0
