"""When the last pass was that went by the clock: the modification time of a file beside the mailboxes.

The latest of them: one whose clock was behind is none to go by. `rules.clock` says what follows.
"""

from __future__ import annotations

import os
from pathlib import Path

_NAME = ".expired"


def last(root: Path) -> float | None:
    """In POSIX time; None if there was none yet."""
    try:
        return (root / _NAME).stat().st_mtime
    except FileNotFoundError:
        return None


def record_pass(root: Path, now: float) -> None:
    """There is one now."""
    if (last(root) or 0.0) < now:
        file = os.open(root / _NAME, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.utime(file, (now, now))
        os.close(file)
