"""Free space on the disks of mail, store and queue."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

QUEUE = Path("/var/spool/postfix")


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, with the first of the places on it as its name. Sizes in octets."""

    place: str
    size: int
    free: int
    used_share: float


def disks(places: Sequence[Path]) -> list[Disk]:
    """The file systems of `places`, each once. Places that can't be read are left out."""
    found: dict[int, Disk] = {}
    for place in places:
        try:
            device, disk = os.stat(place).st_dev, os.statvfs(place)
        except OSError:
            continue
        size, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        found.setdefault(device, Disk(str(place), size, free, 1 - free / size if size else 0.0))
    return list(found.values())
