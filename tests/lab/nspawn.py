"""What systemd-nspawn leaves under /run when it is killed, and how to be rid of it."""

from __future__ import annotations

import shutil
from pathlib import Path

STATE = Path("/run/systemd/nspawn")


def forget(machine: str, root: Path) -> None:
    """Remove its directory and its two locks, by name and by root directory. For one that is dead."""
    shutil.rmtree(STATE / "propagate" / machine, ignore_errors=True)
    (STATE / "locks" / machine).unlink(missing_ok=True)
    if root.is_dir():
        place = root.stat()
        (STATE / "locks" / f"inode-{place.st_dev}:{place.st_ino}").unlink(missing_ok=True)
