"""A small disk for one relay, on which its queue, its mailboxes and its store are, so that it can be full.

It is a tmpfs, which runs out of room as a disk does. The relay is stopped while its files are moved there and
back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.chat.deadline import until
from tests.faults.arrangement import Arrangement
from tests.lab.host import LabHost

_DISK = "/srv/small-disk"
# MiB beside what is there already. Postfix takes no message unless half as much again as the largest (73 MiB)
# would fit.
_ROOM = 256
_MOVED = ("/var/spool/postfix", "/var/vmail", "/var/lib/chatmail")
SERVICES = "chatmail.target opendkim dovecot postfix"
_UMOUNT_SECONDS = 60.0


@contextmanager
def small(arrangement: Arrangement) -> Iterator[None]:
    """_b.lab is on a small disk while the block runs."""
    _, host = arrangement.hosts
    _stop(host)
    there = int(host.run(f"du -cms {' '.join(_MOVED)} | tail -n 1 | cut -f 1").stdout)
    host.run(f"mkdir -p {_DISK} && mount -t tmpfs -o size={there + _ROOM}m tmpfs {_DISK}")
    try:
        for place in _MOVED:
            moved = f"mkdir -p {_DISK}{place} && cp -aT {place} {_DISK}{place}"
            host.run(f"{moved} && mount --bind {_DISK}{place} {place}")
        host.run(f"systemctl start {SERVICES}")
        yield
    finally:
        free(host)
        _move_back(host)


def _stop(host: LabHost) -> None:
    # With what they are the names of, or it would stop by and by.
    host.run(f"systemctl stop {SERVICES} '{host.postfix}' 'chatmail-*' 'mxdeliv-*'")


def _move_back(host: LabHost) -> None:
    _stop(host)
    for place in _MOVED:
        if not _is_moved(host, place):
            continue
        until(f"{place} is unmounted", partial(_unmounted, host, place), _UMOUNT_SECONDS)
        # Copied beside the old one first: whatever happens, one of the two is whole.
        copied = f"cp -aT {_DISK}{place} {place}.new"
        host.run(f"{copied} && rm -rf {place} && mv {place}.new {place}")
    host.run(f"umount {_DISK}; systemctl start {SERVICES}")


def _is_moved(host: LabHost, place: str) -> bool:
    return host.run(["mountpoint", "--quiet", place], check=False).returncode == 0


def _unmounted(host: LabHost, place: str) -> bool:
    return host.run(["umount", place], check=False).returncode == 0


def fill(host: LabHost) -> None:
    """Leave no page free."""
    host.run(f"cat /dev/zero >>{_DISK}/filler", check=False)


def free(host: LabHost) -> None:
    """Undo `fill`."""
    host.run(f"rm -f {_DISK}/filler")
