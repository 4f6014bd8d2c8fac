"""A relay of ours and the reference beside it: users of each, a load for them, and what it cost on the
server.

The senders run in the relay's network, so both sides are reached on the same road, and no packet filter is
between.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from chatmail_milter.accounts.credentials import hash_password
from tests import messages
from tests.bench.gate import SMALL, sealed
from tests.bench.mail import reference, units
from tests.bench.mail.group import ControlGroup, by_process, host_cpu
from tests.bench.mail.queue import drained
from tests.bench.mail.reference import Reference
from tests.bench.mail.submission import Login
from tests.bench.mail.units import Units
from tests.bench.mail.users import BenchOrder, Report
from tests.chat import relay
from tests.chat.person import fresh_password
from tests.lab import LabError
from tests.lab.host import LabHost
from tests.lab.plan import REPOSITORY

# What a message costs whom, a column each. The reference has the first two and the journal.
PARTS: Mapping[str, str] = {
    "Postfix": units.POSTFIX,
    "Dovecot": units.DOVECOT,
    "OpenDKIM": units.OPENDKIM,
    "hooks": units.HOOKS,
    "milter": units.MILTER,
    "relay": units.RELAY,
    "push": units.PUSH,
    "wake": units.WAKE,
    "journal": units.JOURNAL,
}
# The programs that do most of it in Postfix and Dovecot, a column each; `auth` is the workers, too.
PROGRAMS = {
    "Postfix": ("smtpd", "cleanup", "qmgr", "lmtp"),
    "Dovecot": ("lmtp", "auth", "quota-status", "stats", "config", "imap"),
}
_PATIENCE = 600.0  # seconds for a load


# By process id: the program and its CPU seconds.
Processes = Mapping[int, tuple[str, float]]


class BenchSide(Protocol):
    """One of the two."""

    smtp: tuple[str, int]
    imap: tuple[str, int]

    def people(self, count: int) -> list[Login]:
        """So many new accounts, which have logged in today."""

    def cpu(self) -> Mapping[str, float]:
        """CPU seconds so far by names of `PARTS`."""

    def programs(self) -> Mapping[str, Processes]:
        """The processes of Postfix and of Dovecot."""

    def drain(self) -> None:
        """Wait until the queue is empty."""


class Ours:
    """A relay as the playbook made it."""

    def __init__(self, host: LabHost) -> None:
        self.smtp, self.imap = (host.ip, 465), (host.ip, 993)
        self._host = host
        self._units = Units(host, PARTS.values())

    def people(self, count: int) -> list[Login]:
        password, today = fresh_password(), datetime.now(UTC).date().isoformat()
        made = {"password_hash": hash_password(password), "created": today, "last_login": today}
        names = [f"bench{secrets.token_hex(6)}@{self._host.domain}" for _ in range(count)]
        lines = "".join(json.dumps({"address": name, **made}) + "\n" for name in names)
        relay.operate(self._host, "account", "import", "-", input=lines)
        return [(name, password) for name in names]

    def cpu(self) -> Mapping[str, float]:
        seconds = self._units.cpu()
        return {part: seconds[unit] for part, unit in PARTS.items()}

    def programs(self) -> Mapping[str, Processes]:
        return {part: self._units.programs(PARTS[part]) for part in PROGRAMS}

    def drain(self) -> None:
        drained(self._host)


class Stack:
    """The reference."""

    def __init__(self, running: Reference, password: str) -> None:
        self.smtp, self.imap = ("127.0.0.1", reference.SUBMISSIONS), ("127.0.0.1", reference.IMAPS)
        self._running = running
        self._password = password
        self._journal = Units(running.host, [units.JOURNAL])

    def people(self, count: int) -> list[Login]:
        return [(f"bench{secrets.token_hex(6)}@{reference.DOMAIN}", self._password) for _ in range(count)]

    def cpu(self) -> Mapping[str, float]:
        return {
            "Postfix": self._running.postfix.cost().cpu,
            "Dovecot": self._running.dovecot.cost().cpu,
            "journal": self._journal.cpu()[units.JOURNAL],
        }

    def programs(self) -> Mapping[str, Processes]:
        groups = {"Postfix": self._running.postfix, "Dovecot": self._running.dovecot}
        return {part: by_process(group.pids()) for part, group in groups.items()}

    def drain(self) -> None:
        self._running.drain()


@dataclass(frozen=True)
class SideLoad:
    """What a load was like. Milliseconds of CPU a message: by part, all on the host but the clients, the
    clients."""

    report: Report
    parts: Mapping[str, float]
    programs: Mapping[tuple[str, str], float]  # by part and program, of processes that live on
    everything: float
    clients: float


class Bench:
    """Both sides on one host, and the clients."""

    def __init__(
        self, host: LabHost, running: Reference, password: str, clients: ControlGroup, file: Path
    ) -> None:
        self.ours, self.stack = Ours(host), Stack(running, password)
        self._host = host
        self._clients = clients
        self._file = str(file)

    def load(
        self,
        side: BenchSide,
        sessions: Sequence[Sequence[Login]],
        readers: Sequence[Login],
        count: int,
        *,
        imap: tuple[str, int] | None = None,
        idle: float = 0,
        apart: bool = False,
    ) -> SideLoad:
        """`count` messages in each session, of each sender to its reader; raises `LabError` if one is
        refused."""
        order = BenchOrder(
            side.smtp,
            imap or side.imap,
            list(map(list, sessions)),
            list(readers),
            count,
            self._file,
            idle,
            apart,
        )
        side.drain()
        processes = side.programs()
        before, all_before = side.cpu(), host_cpu(self._host) - self._clients.cost().cpu
        report = self._run(order)
        side.drain()
        each = 1e3 / sum(map(order.count, range(len(sessions))))
        return SideLoad(
            report,
            {part: (seconds - before[part]) * each for part, seconds in side.cpu().items()},
            {
                (part, program): spent(program, processes[part], now) * each
                for part, now in side.programs().items()
                for program in PROGRAMS[part]
            },
            (host_cpu(self._host) - self._clients.cost().cpu - all_before) * each,
            report.cpu * each,
        )

    def _run(self, order: BenchOrder) -> Report:
        words = self._clients.beside([sys.executable, "-m", "tests.bench.mail.users"])
        done = subprocess.run(
            words,
            input=msgspec.json.encode(order),
            capture_output=True,
            check=False,
            cwd=REPOSITORY,
            timeout=_PATIENCE,
        )
        if done.returncode:
            raise LabError(f"look into the users: {done.stderr.decode(errors='replace').strip()[-300:]}")
        report = msgspec.json.decode(done.stdout, type=Report)
        if report.trouble:
            raise LabError(f"read the journal of {self._host.name}: a user met {report.trouble[0]}")
        return report


def spent(program: str, before: Processes, now: Processes) -> float:
    """CPU seconds of a program's processes since `before`."""
    unknown = (program, 0.0)
    return sum(cpu - before.get(pid, unknown)[1] for pid, (name, cpu) in now.items() if name == program)


@contextmanager
def bench(host: LabHost, directory: Path) -> Iterator[Bench]:
    """The reference is up beside the relay until the context is left."""
    armor, _ = sealed(SMALL)
    file = directory / "message"
    file.write_bytes(messages.encrypted(armor, sender="SENDER@bench.lab"))
    password = fresh_password()
    with reference.running(host, password) as running, ControlGroup(host, "users") as clients:
        yield Bench(host, running, password, clients, file)
