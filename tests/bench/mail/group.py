"""Programs on a lab host, each kind in a control group of its own: what it costs, and how it is ended.

The groups are inside the host's, so that taking the lab down takes them too, whatever became of us.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cgroup
from tests.lab.host import LabHost
from tests.lab.process import end
from tests.lab.wait import until

_TICKS = os.sysconf("SC_CLK_TCK")  # a second
END_DEADLINE = 5.0  # seconds for a program to end when it is asked to


@dataclass(frozen=True)
class Cost:
    """`cpu` in seconds; `switches` are context switches, asked for (a wait) or not, of all threads."""

    cpu: float = 0.0
    switches: int = 0

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu - other.cpu, self.switches - other.switches)


class ControlGroup:
    """One control group on `host`, and the programs in it. Leaving the context ends them."""

    def __init__(self, host: LabHost, name: str) -> None:
        self._host = host
        self._paths = [mount / host.netns / f"bench-{name}" for mount in cgroup.hierarchies()]

    def __enter__(self) -> ControlGroup:
        self.end()
        for path in self._paths:
            # One hierarchy may be mounted under two names.
            path.mkdir(exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def inside(self, command: str | Sequence[str]) -> list[str]:
        """The words that run a command in the host and in this group."""
        return self._joined(self._host.words(command))

    def beside(self, argv: Sequence[str]) -> list[str]:
        """The words that run a program of this machine in the host's network and in this group."""
        return self._joined(["ip", "netns", "exec", self._host.netns, *argv])

    def start(self, words: Sequence[str], log: Path, cwd: Path | None = None) -> None:
        """Start what `inside` or `beside` gave; it lives until the group ends."""
        with log.open("ab") as output:
            subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=cwd
            )

    def cost(self) -> Cost:
        """What the programs in here cost so far. Switches of programs that ended are not in it."""
        return Cost(cpu_seconds(self._paths), sum(switches(pid) for pid in self.pids()))

    def pids(self) -> set[int]:
        found: set[int] = set()
        for path in self._paths:
            if path.is_dir():
                found.update(map(int, (path / "cgroup.procs").read_text(encoding="ascii").split()))
        return found

    def end(self) -> None:
        """Ask all that is in here to end, then make it, and remove the group."""
        for pid in self.pids():
            end(pid, END_DEADLINE, signal.SIGTERM)
        until(lambda: not self.pids() or self._killed(), 10.0, f"see what still runs in {self._paths[0]}")
        for path in self._paths:
            if path.is_dir():
                path.rmdir()

    def _killed(self) -> bool:
        return all(cgroup.emptied(path) for path in self._paths if path.is_dir())

    def _joined(self, words: Sequence[str]) -> list[str]:
        joins = "".join(f"echo $$ >{shlex.quote(str(path / 'cgroup.procs'))}\n" for path in self._paths)
        return ["sh", "-ec", f'{joins}exec "$@"', "sh", *words]


def host_cpu(host: LabHost) -> float:
    """CPU seconds of all that ever ran on a host."""
    return cpu_seconds([mount / host.netns for mount in cgroup.hierarchies()])


def cpu_seconds(groups: Sequence[Path]) -> float:
    """CPU time of a control group, given by its directory in each hierarchy, of version 1 or 2."""
    for group in groups:
        if (usage := group / "cpuacct.usage").exists():
            return int(usage.read_text(encoding="ascii")) / 1e9
    for group in groups:
        if (stat := group / "cpu.stat").exists():
            fields = dict(line.split() for line in stat.read_text(encoding="ascii").splitlines())
            if "usage_usec" in fields:
                return int(fields["usage_usec"]) / 1e6
    raise RuntimeError(f"no control group accounts CPU time among {', '.join(map(str, groups))}")


def by_process(pids: Iterable[int]) -> dict[int, tuple[str, float]]:
    """The program and the CPU seconds of each process; without those that are gone."""
    found = {}
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # proc_pid_stat(5): the name is in brackets and may hold any character; utime and stime are 14 and 15.
        fields = stat.rpartition(")")[2].split()
        name = stat.partition("(")[2].rpartition(")")[0]
        found[pid] = name, (int(fields[11]) + int(fields[12])) / _TICKS
    return found


def switches(pid: int) -> int:
    """Context switches of all threads of a process; none if it is gone."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        try:
            lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if "_ctxt_switches" in line)
    return total
