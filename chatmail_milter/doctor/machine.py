"""Checks the clock of this host, and free space and inodes of its disks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chatmail_milter.doctor import Finding, FindingState, good, unknown

SUBJECT = "machine"
# Shares of a file system that must be left.
SOON_FREE, BAD_FREE = 0.10, 0.03


def clock() -> bool:
    """Whether the clock is set by the network. Raises `OSError`, `subprocess.SubprocessError`."""
    said = subprocess.run(
        ["/usr/bin/timedatectl", "show", "--property=NTPSynchronized", "--value"],
        capture_output=True, text=True, check=True, timeout=20,
    ).stdout  # fmt: skip
    return said.strip() == "yes"


def check_clock(clock: Callable[[], bool] = clock) -> Iterator[Finding]:
    """Checks the clock, on which signatures and certificates depend."""
    why = "with a wrong clock, certificates and signatures are invalid, and mail expires at the wrong time"
    try:
        synchronised = clock()
    except (OSError, subprocess.SubprocessError) as error:
        yield unknown(SUBJECT, "clock", f"timedatectl does not answer: {error}")
        return
    if synchronised:
        yield good(SUBJECT, "clock", "is set by the network")
    else:
        yield Finding(
            SUBJECT, "clock", FindingState.SOON, "is not set by the network", why,
            "apt-get install systemd-timesyncd; timedatectl set-ntp true",
        )  # fmt: skip


def check_disks(
    places: Sequence[Path], stat: Callable[[Path], os.statvfs_result] = os.statvfs
) -> Iterator[Finding]:
    """Checks free space and inodes of each file system of `places`."""
    seen: set[tuple[int, int, int]] = set()
    for place in places:
        try:
            disk = stat(place)
        except OSError as error:
            yield unknown(SUBJECT, str(place), f"can't be checked: {error.strerror}")
            continue
        # Places of one file system have the same numbers.
        key = (disk.f_blocks, disk.f_bavail, disk.f_favail)
        if key in seen:
            continue
        seen.add(key)
        yield _left(place, "disk", disk.f_bavail, disk.f_blocks, "when it is full, mail is refused")
        # Some file systems (btrfs) make inodes as they need them, and say 0.
        if disk.f_files:
            yield _left(place, "inodes", disk.f_favail, disk.f_files, "each message is a file and needs one")


def _left(place: Path, what: str, free: int, whole: int, why: str) -> Finding:
    share = free / whole if whole else 0.0
    state = (
        FindingState.BAD
        if share < BAD_FREE
        else FindingState.SOON
        if share < SOON_FREE
        else FindingState.GOOD
    )
    found = f"{share:.0%} free"
    if state is FindingState.GOOD:
        return good(SUBJECT, f"{what} of {place}", found)
    mend = "free some space, or let mail expire sooner: `expiry` in /etc/chatmail/chatmail.toml"
    return Finding(SUBJECT, f"{what} of {place}", state, found, why, mend)
