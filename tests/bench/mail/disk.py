"""How often Postfix waits for the disk, and how long: strace on those that write the queue.

strace slows what it watches, so this is not for the loads that are compared.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.mail.instance import Instance
from tests.bench.mail.stand import HERE, Stand
from tests.lab.wait import until

# A call on one line, or the second line of one during which another process said something.
CALL = re.compile(r"\bf(?:data)?sync(?:\(| resumed>).*<(?P<seconds>[0-9.]+)>$", re.MULTILINE)
NAMES = ("cleanup",)
DEADLINE = 20.0


@dataclass(frozen=True)
class Syncs:
    """fsync calls a message, milliseconds of one (median)."""

    count: float
    milliseconds: float


class Watched:
    """What strace wrote."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def each(self, messages: int) -> Syncs:
        times = sorted(self.seconds)
        return Syncs(len(times) / messages, times[len(times) // 2] * 1e3 if times else 0.0)


@contextmanager
def watched(stand: Stand, postfix: Instance) -> Iterator[Watched]:
    """Looks at fsync while the context lasts; the answer is complete after it."""
    seen = Watched()
    group = stand.group("strace")
    output = stand.outside / "strace"
    pids = [inner(pid) for pid in postfix.group.pids() if name(pid) in NAMES]
    words = ["strace", "-f", "-T", "-e", "trace=fsync,fdatasync", "-o", f"{HERE}/strace"]
    group.start(group.inside([*words, *(word for pid in pids for word in ("-p", pid))]), stand.log)
    until(
        lambda: all(traced(pid) for pid in postfix.group.pids() if name(pid) in NAMES), DEADLINE, "see strace"
    )
    yield seen
    for pid in group.pids():
        os.kill(pid, signal.SIGINT)
    until(lambda: not group.pids(), DEADLINE, "see why strace does not end")
    text = output.read_text(encoding="utf-8", errors="replace")
    seen.seconds = [float(match["seconds"]) for match in CALL.finditer(text)]


def name(pid: int) -> str:
    return _status(pid).get("Name", "")


def inner(pid: int) -> str:
    """The process's number in the innermost namespace that it is in."""
    return _status(pid)["NSpid"].split()[-1]


def traced(pid: int) -> bool:
    return _status(pid).get("TracerPid", "0") != "0"


def _status(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
