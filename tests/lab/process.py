"""Processes that outlive the command that started them: recorded, found again, ended.

A record is the process's own line of /proc/PID/stat, written by itself before it becomes the program, so no
interruption leaves one unrecorded. The start time in it tells a process from a later one with its number.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.errors import LabError

START_TIME = 22  # the field's number in proc_pid_stat(5), from 1


def identity(stat: str) -> tuple[int, int]:
    """Process id and start time from a line of /proc/PID/stat; the name in it may hold anything."""
    pid, _, rest = stat.partition(" ")
    return int(pid), int(rest.rpartition(")")[2].split()[START_TIME - 3])


def alive(record: Path) -> int | None:
    """The process id behind a record, or None when that process is gone."""
    try:
        pid, started = identity(record.read_text(encoding="utf-8"))
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return None
    zombie = stat.rpartition(")")[2].split()[0] == "Z"
    return pid if identity(stat)[1] == started and not zombie else None


def start(argv: Sequence[str], record: Path, log: Path, cgroups: Sequence[Path] = ()) -> None:
    """Start a program away from our pipes and our terminal, in `cgroups`, and record it."""
    record.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    half = record.with_suffix(".half")
    script = "".join(f"echo $$ >{shlex.quote(str(group / 'cgroup.procs'))}\n" for group in cgroups)
    script += f'cat /proc/$$/stat >{half}\nmv {half} {record}\nexec "$@"\n'
    record.unlink(missing_ok=True)
    with log.open("ab") as output:
        subprocess.Popen(
            ["sh", "-ec", script, "sh", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(record: Path, deadline: float, *, sign: signal.Signals = signal.SIGTERM) -> None:
    """End the recorded process: ask, wait up to `deadline` seconds, then kill. The record goes too."""
    pid = alive(record)
    if pid is not None:
        end(pid, deadline, sign)
    record.unlink(missing_ok=True)


def end(pid: int, deadline: float, sign: signal.Signals = signal.SIGTERM) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for attempt, patience in ((sign, deadline), (signal.SIGKILL, 10.0)):
            signal.pidfd_send_signal(handle, attempt)
            if select.select([handle], [], [], patience)[0]:
                return
        raise LabError(f"see why process {pid} does not end, not even when killed")
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
