"""A control group of its own for each host, whatever mixture of version 1 and 2 this machine has.

Without one, the systemds of all hosts would take the same group for their root, and stopping a service of
one would kill the others' too. Everything a host ran is in its group, which is how it is cleaned up.
"""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

from tests.lab.plan import Host
from tests.lab.process import end
from tests.lab.wait import until

# Left alone: a new cpuset is empty, and nothing can run in it before it has been filled in.
SKIPPED = {"cpuset"}


def hierarchies() -> list[Path]:
    return mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))


def mounts(mountinfo: str) -> list[Path]:
    """The mount points of the cgroup hierarchies, from the text of /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fstype, _, options = after.split(" ", 2)
        if fstype == "cgroup2" or (fstype == "cgroup" and not SKIPPED & set(options.split(","))):
            found.append(Path(before.split()[4]))
    return found


def make(host: Host) -> list[Path]:
    """The host's groups, one per hierarchy."""
    groups = [mount / host.netns for mount in hierarchies()]
    for group in groups:
        group.mkdir(exist_ok=True)
    return groups


def remove(host: Host) -> None:
    """Kill whatever still runs in the host's groups and remove them."""
    for mount in hierarchies():
        group = mount / host.netns
        if not group.is_dir():
            continue
        until(partial(emptied, group), 10.0, f"see what still runs in {group}")
        for directory in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            directory.rmdir()
        group.rmdir()


def emptied(group: Path) -> bool:
    """Kill all that is in a group and below; was there nothing?"""
    pids = [pid for procs in group.rglob("cgroup.procs") for pid in procs.read_text(encoding="ascii").split()]
    for pid in pids:
        end(int(pid), 2.0, signal.SIGKILL)
    return not pids
