"""Whether the machine has room for another account: its load, memory and disk, compared with the limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chatmail_milter.config import Config, LimitSettings

Shortage = Literal["load", "memory", "disk"]


@dataclass(frozen=True, slots=True)
class Machine:
    """State of a machine. `load`: load average per processor. `memory`, `disk`: available octets."""

    load: float
    memory: int
    disk: int


def shortage(limits: LimitSettings, machine: Machine) -> Shortage | None:
    """The resource that is beyond its limit; None if another account may be created."""
    if limits.load and machine.load > limits.load:
        return "load"
    if machine.memory < limits.memory:
        return "memory"
    return "disk" if machine.disk < limits.disk else None


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
