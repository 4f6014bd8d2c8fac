"""Limits on new accounts: the number per network and minute, and the load, memory and disk of the machine.

They apply to creation by first login and at `/new`, not to logins to existing accounts or to the operator.
The rate limit is GCRA (`processes.ratelimit`) in a table of fixed size, which the workers of `chatmail-hooks`
and of `mxdeliv-app` share (`shared_table.py`). The table has no IP address, only its keyed hash; the key is
random and kept in the table.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chatmail_milter.config import AccountSettings, Config, LimitSettings
from chatmail_milter.processes.ratelimit import Limiter, Rate
from chatmail_milter.processes.shared_table import ProcessLock, SharedTable

Shortage = Literal["load", "memory", "disk"]

MAIL = Path("/var/vmail")
MEMORY = Path("/proc/meminfo")
# The playbook creates this empty file, writable for the group of our programs.
PATH = Path("/run/chatmail/new-accounts")

# Slots of 16 octets. With more networks than slots at once, those with the shortest wait are evicted.
_SLOTS = 1 << 16
_SLOT_SIZE = 16

_log = logging.getLogger(__name__)

_shared: list[Limiter] = []


def limiter(rules: AccountSettings, path: Path | None = None) -> Limiter:
    """A limiter with a burst of one minute's number. Its table is the file `path`, else private memory."""
    rate = Rate(rules.new_per_minute, max(1, rules.new_per_minute))
    if path is None:
        return Limiter(rate, _SLOTS, ProcessLock())
    # With the rate in the name: TATs are in units of it. Those of another rate would be far in the future.
    table = SharedTable(path, f"gcra {_SLOTS} {rate.per_minute}", _SLOTS * _SLOT_SIZE)
    return Limiter(rate, _SLOTS, table.lock, table, table.mark)


def share(rules: AccountSettings, path: Path = PATH) -> None:
    """Creates the limiter that `shared` returns. Call before workers are forked."""
    if not path.exists():
        _log.warning("event=limit-not-shared")
    _shared[:] = [limiter(rules, path if path.exists() else None)]


def shared(rules: AccountSettings) -> Limiter:
    """The limiter of all workers; a private one if `share` was not called."""
    return _shared[0] if _shared else limiter(rules)


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


def shortage_check(settings: Config) -> Callable[[], Shortage | None]:
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
