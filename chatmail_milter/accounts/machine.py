"""Reads load, memory and disk usage from the kernel, for `capacity`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from chatmail_milter.accounts.capacity import Machine, Shortage, shortage
from chatmail_milter.config import Config

MAIL = Path("/var/vmail")
MEMORY = Path("/proc/meminfo")


def room(settings: Config) -> Callable[[], Shortage | None]:
    """A function that returns the resource that is beyond its limit now, or None."""
    places = [MAIL]
    if settings.store.file is not None:
        places.append(settings.store.file.parent)
    return lambda: shortage(settings.limits, look(places))


def look(places: Iterable[Path], memory: Path = MEMORY) -> Machine:
    """The current state of the machine. `disk` is that with the least space among those of `places`.

    Raises `OSError` and `ValueError` if the kernel does not provide a value.
    """
    return Machine(
        os.getloadavg()[0] / (os.cpu_count() or 1), available(memory.read_text()), min(map(_free, places))
    )


def available(meminfo: str) -> int:
    """MemAvailable in octets, from the text of /proc/meminfo (proc(5)). Raises `ValueError`."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no MemAvailable")


def _free(place: Path) -> int:
    # A directory that does not exist yet will be on the file system of its parent.
    there = next(one for one in (place, *place.parents) if one.exists())
    disk = os.statvfs(there)
    return disk.f_bavail * disk.f_frsize
