"""The time of the last expiry pass that trusted the clock, as the modification time of a file.

The file is in the directory of the mailboxes. The time never goes back, even if a pass ran while the clock
was behind. `rules.clock` uses it.
"""

from __future__ import annotations

import os
from pathlib import Path

_NAME = ".expired"


def last(root: Path) -> float | None:
    """POSIX time of the last pass; None before the first."""
    try:
        return (root / _NAME).stat().st_mtime
    except FileNotFoundError:
        return None


def record_pass(root: Path, now: float) -> None:
    """Records a pass at `now` (POSIX time)."""
    if (last(root) or 0.0) < now:
        file = os.open(root / _NAME, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.utime(file, (now, now))
        os.close(file)
