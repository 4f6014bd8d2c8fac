"""What the services of a lab host cost: CPU of a unit's control group, peak memory of its processes.

The groups are those that the host's systemd makes. What counts CPU for every group is version 2 of them, be
it all that there is or mounted beside version 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.mail.group import by_process, cpu_seconds
from tests.lab import cgroup
from tests.lab.errors import LabError
from tests.lab.host import LabHost

APP, RELAY, MILTER, HOOKS = "mxdeliv-app", "mxdeliv-relay", "chatmail-milter", "chatmail-hooks"
RECIPIENTS, PUSH, WAKE = "chatmail-recipients", "chatmail-push", "chatmail-wake"
POSTFIX, NGINX, DOVECOT, OPENDKIM = "postfix", "nginx", "dovecot", "opendkim"
JOURNAL, UNBOUND = "systemd-journald", "unbound"


@dataclass(frozen=True)
class Memory:
    """Of all processes of a unit, in MiB; what they share is counted for each."""

    now: float
    peak: float


class Units:
    """Services of one host, by name without `.service`; `POSTFIX` is whichever unit Postfix runs in there."""

    def __init__(self, host: LabHost, names: Iterable[str]) -> None:
        units = {name: host.postfix if name == POSTFIX else name for name in names}
        self._groups = {name: _group(host, f"{unit}.service") for name, unit in units.items()}

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each, since it was started."""
        return {name: cpu_seconds([group]) for name, group in self._groups.items()}

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """CPU seconds of each since `cpu` said `before`."""
        return {name: seconds - before[name] for name, seconds in self.cpu().items()}

    def forget_peak(self, name: str) -> None:
        """Let the peak of a unit's memory begin with what it takes now."""
        for process in self._processes(name):
            (process / "clear_refs").write_text("5", encoding="ascii")  # proc_pid_clear_refs(5)

    def memory(self, name: str) -> Memory:
        """What a unit takes now, and its peak since it was started or `forget_peak`."""
        statuses = [(process / "status").read_text(encoding="utf-8") for process in self._processes(name)]
        return Memory(_sum(statuses, "VmRSS"), _sum(statuses, "VmHWM"))

    def proportional(self, name: str) -> dict[str, float]:
        """What a unit takes, MiB by program: memory that processes share is divided among them (PSS)."""
        taken: dict[str, float] = {}
        for process in self._processes(name):
            program = (process / "comm").read_text(encoding="utf-8").strip()
            rollup = (process / "smaps_rollup").read_text(encoding="ascii")
            taken[program] = taken.get(program, 0.0) + _sum([rollup], "Pss:")
        return taken

    def programs(self, name: str) -> dict[int, tuple[str, float]]:
        """The program and the CPU seconds of each process that a unit has now."""
        return by_process(int(one.name) for one in self._processes(name))

    def processes(self, name: str) -> int:
        """How many a unit has."""
        return len(self._processes(name))

    def _processes(self, name: str) -> list[Path]:
        pids = (self._groups[name] / "cgroup.procs").read_text(encoding="ascii").split()
        return [Path("/proc") / pid for pid in pids]


def _group(host: LabHost, unit: str) -> Path:
    for mount in cgroup.hierarchies():
        for group in (mount / host.netns).rglob(unit):
            if "usage_usec" in _read(group / "cpu.stat"):
                return group
    raise LabError(f"see whether {unit} runs on {host.name}: no control group counts its CPU time")


def _read(file: Path) -> str:
    return file.read_text(encoding="ascii") if file.exists() else ""


def _sum(statuses: Sequence[str], field: str) -> float:
    """MiB that the statuses name together."""
    lines = (line.split() for status in statuses for line in status.splitlines() if line.startswith(field))
    return sum(int(words[1]) for words in lines) / 1024
