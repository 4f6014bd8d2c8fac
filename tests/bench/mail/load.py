"""One load on one smtpd, and what it cost whom."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

from tests.bench.mail.group import ControlGroup, Cost, host_cpu
from tests.bench.mail.instance import Instance, LoopbackSmtpd
from tests.bench.mail.sessions import Place
from tests.bench.mail.stand import Stand
from tests.bench.rounds import interleaved
from tests.bench.table import Measured
from tests.lab.errors import LabError
from tests.lab.plan import REPOSITORY

T = TypeVar("T")

SENDERS = 20
PATIENCE = 300.0  # seconds for all of a round
WARM = 100  # messages, so that all processes are there and have read what they read once


@dataclass(frozen=True)
class Subject:
    """What is measured: an smtpd, the programs it needs, and what is sent to it."""

    service: LoopbackSmtpd
    programs: Sequence[ControlGroup]
    message: Path
    per_session: int = 1


@dataclass(frozen=True)
class RelayLoad:
    """A round. CPU in microseconds a message; `rest` is the relay's journal and whatever else it did."""

    rate: float  # messages a second
    median: float  # seconds from connect to the answer to the message
    p95: float
    postfix: float
    programs: tuple[float, ...]
    senders: float
    rest: float
    idle: float  # of the machine's processors, 0 to 1
    switches: float  # context switches a message, Postfix's and the programs'


class Loader:
    """Sends to one subject after the other."""

    def __init__(self, stand: Stand, instance: Instance, messages: int) -> None:
        self._host = stand.host
        self._instance = instance
        self._senders = stand.group("senders")
        self._messages = messages
        self.failed: dict[str, str] = {}

    def rounds(self, subjects: Mapping[str, Subject], rounds: int) -> dict[str, list[RelayLoad]]:
        """Loads of every subject, by turns. A subject that fails is left out, and said in `failed`."""
        for name, subject in subjects.items():
            self._try(name, partial(self._send, subject, WARM))
        cases = {name: partial(self._try, name, partial(self.load, one)) for name, one in subjects.items()}
        seen = interleaved(cases, rounds)
        return {
            name: [load for load in loads if load is not None]
            for name, loads in seen.items()
            if name not in self.failed
        }

    @property
    def not_measured(self) -> str:
        """Lines about the subjects that failed, for a table's notes."""
        return "".join(f"\nNOT MEASURED: {name}: {why}" for name, why in self.failed.items())

    def _try(self, name: str, work: Callable[[], T]) -> T | None:
        if name in self.failed:
            return None
        try:
            return work()
        except LabError as error:
            self.failed[name] = str(error)
            return None

    def load(self, subject: Subject) -> RelayLoad:
        """One round. The queue is empty before and after."""
        groups = (self._instance.group, *subject.programs)
        before, all_before = [group.cost() for group in groups], host_cpu(self._host)
        seen = self._send(subject, self._messages)
        costs = [group.cost() - old for group, old in zip(groups, before, strict=True)]
        everything = host_cpu(self._host) - all_before
        return self._load(seen, costs, everything)

    def _send(self, subject: Subject, messages: int) -> dict[str, float]:
        place = Place("smtp", "127.0.0.1", subject.service.port)
        options = ["--per-session", str(subject.per_session)]
        seen = sent(self._senders, place, subject.message, messages, *options)
        self._instance.drain()
        return seen

    def _load(self, seen: dict[str, float], costs: Sequence[Cost], everything: float) -> RelayLoad:
        each = 1e6 / self._messages
        postfix, *programs = (cost.cpu * each for cost in costs)
        rest = everything - seen["started_cpu"] - seen["cpu"] - sum(cost.cpu for cost in costs)
        return RelayLoad(
            rate=seen["messages"] / seen["seconds"],
            median=seen["median"],
            p95=seen["p95"],
            postfix=postfix,
            programs=tuple(programs),
            senders=seen["cpu"] * each,
            rest=rest * each,
            idle=seen["idle"],
            switches=sum(cost.switches for cost in costs) / self._messages,
        )


def sent(
    senders: ControlGroup, place: Place, message: Path, messages: int, *options: str
) -> dict[str, float]:
    """What `senders`, in their host's own network, say of so many messages; LabError if not all were sent."""
    words = [sys.executable, "-m", "tests.bench.mail.senders", str(place), str(message)]
    words += [str(SENDERS), str(messages), *options]
    done = subprocess.run(
        senders.beside(words), capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=PATIENCE
    )
    if done.returncode:
        raise LabError(f"look into the senders: {done.stderr.strip().splitlines()[-1]}")
    seen = json.loads(done.stdout)
    if seen["trouble"]:
        raise LabError(f"read the journal: a sender to {place} met {seen['trouble'][0]}")
    return dict(seen)


def measured(loads: Sequence[RelayLoad], value: Callable[[RelayLoad], float]) -> Measured:
    """One figure of a subject's loads."""
    return Measured.of(map(value, loads))


def middle(loads: Sequence[RelayLoad], value: Callable[[RelayLoad], float]) -> float:
    return median(map(value, loads))
