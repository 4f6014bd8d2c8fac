"""A look at the machine: load, memory and disk, as the kernel tells them. `capacity` says what it means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from chatmail_milter.accounts.capacity import Machine, Shortage, shortage
from chatmail_milter.config import Config

MAIL = Path("/var/vmail")
MEMORY = Path("/proc/meminfo")


def room(settings: Config) -> Callable[[], Shortage | None]:
    """A question: what is the machine short of now, by these settings?"""
    places = [MAIL]
    if settings.store.file is not None:
        places.append(settings.store.file.parent)
    return lambda: shortage(settings.limits, look(places))


def look(places: Iterable[Path], memory: Path = MEMORY) -> Machine:
    """The machine now; of the disks, the fullest of those that `places` are on.

    Raises `OSError` and `ValueError` where the kernel doesn't tell.
    """
    return Machine(
        os.getloadavg()[0] / (os.cpu_count() or 1), available(memory.read_text()), min(map(_free, places))
    )


def available(meminfo: str) -> int:
    """Octets of memory that programs can still get, as proc(5) has it."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no MemAvailable")


def _free(place: Path) -> int:
    # Made later, it will be on its parent's disk.
    there = next(one for one in (place, *place.parents) if one.exists())
    disk = os.statvfs(there)
    return disk.f_bavail * disk.f_frsize
