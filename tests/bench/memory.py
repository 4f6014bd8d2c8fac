"""What our own programs take of memory: after a restart, and while messages go through all of them.

A relay's users write to each other and to another relay's, whose users write back, so that each program has
its part. `MESSAGES=10000 make bench ONLY=memory` sends so many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from tests import messages
from tests.bench.context import BenchContext
from tests.bench.gate import SMALL, sealed
from tests.bench.mail.hibernation import accounts
from tests.bench.mail.queue import drained
from tests.bench.mail.units import Units
from tests.bench.table import BenchTable, Column, TableRow
from tests.chat import smtp
from tests.lab.host import LabHost
from tests.lab.wait import until

MESSAGES = int(os.environ.get("MESSAGES", "2000"))
SENDERS = 10  # at once
# A user may send ten at once, and one a second then.
PER_SESSION = 8
# Of four messages two stay on the relay, one leaves it and one comes.
ROADS = (("a", "a"), ("a", "b"), ("a", "a"), ("b", "a"))
JOURNALCTL = "journalctl"  # the relay's child
SHARES = (0.25, 0.5, 1.0)

COLUMNS = (
    Column("MiB after restart", 1),
    *(Column(f"MiB after {share:.0%}", 1) for share in SHARES),
)
NOTES = f"""\
PSS of all processes of each unit (memory that processes share is divided among them): after a restart and the
first message by each road, then after parts of {MESSAGES} messages of 4 KB, a quarter from another relay and
a quarter to it. What journalctl maps are pages of the journal itself, which is in memory. Both relays run on
one machine, and share pages of programs and libraries."""

# MiB by unit and program.
Weights = Mapping[tuple[str, str], float]
Login = tuple[str, str]


def measure(context: BenchContext) -> Sequence[BenchTable]:
    relay = context.lab.host("a")
    hosts = {"a": relay, "b": context.lab.host("b")}
    units = names(relay)
    logins = {
        name: accounts(host, MESSAGES // PER_SESSION + len(ROADS) + 2 * SENDERS)
        for name, host in hosts.items()
    }
    sessions = all_sessions(logins)
    relay.run(["systemctl", "restart", *units])
    send(hosts, list(islice(sessions, len(ROADS))), 1)
    weights = [settled(relay, units)]
    sent = 0.0
    for share in SHARES:
        count = round((share - sent) * MESSAGES / PER_SESSION)
        context.say(f"{count * PER_SESSION} messages")
        send(hosts, list(islice(sessions, count)), PER_SESSION)
        sent = share
        weights.append(settled(relay, units))
    return (BenchTable("Memory of our own programs", COLUMNS, rows(weights), NOTES),)


def names(host: LabHost) -> list[str]:
    """Our services that run, by name."""
    listed = host.run(
        "systemctl list-units --plain --no-legend --type=service --state=running 'chatmail-*' 'mxdeliv-*'"
    )
    return sorted(line.split()[0].removesuffix(".service") for line in listed.stdout.splitlines())


def all_sessions(logins: Mapping[str, Sequence[Login]]) -> Iterator[tuple[str, Login, str]]:
    """Who sends, from which relay, and to whom; each user once."""
    number = 0
    while True:
        here, there = ROADS[number % len(ROADS)]
        reader = logins[there][number % SENDERS]
        yield here, logins[here][SENDERS + number], reader[0]
        number += 1


def send(hosts: Mapping[str, LabHost], sessions: Sequence[tuple[str, Login, str]], each: int) -> None:
    """So many messages in each session. When it returns, all are delivered."""
    armor, _ = sealed(SMALL)

    def one(session: tuple[str, Login, str]) -> None:
        here, login, reader = session
        text = messages.encrypted(armor, sender=login[0])
        with smtp.logged_in(hosts[here].ip, login) as submission:
            for _ in range(each):
                submission.sendmail(login[0], [reader], text)

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(one, sessions))
    # What goes to the other relay first, then what that one has still to deliver.
    for host in (*hosts.values(), *hosts.values()):
        drained(host)


def settled(host: LabHost, units: Sequence[str]) -> Weights:
    """What the units take, in MiB, when that no longer changes."""
    seen: list[Weights] = []

    def steady() -> Weights | None:
        services = Units(host, units)
        sizes = {name: services.proportional(name) for name in units}
        seen.append({(name, program): size for name, each in sizes.items() for program, size in each.items()})
        total = [sum(one.values()) for one in seen[-2:]]
        return seen[-1] if len(total) == 2 and abs(total[1] - total[0]) < 0.005 * total[0] else None

    return until(steady, 60.0, f"see which of our services on {host.name} restarts or grows without any mail")


def rows(weights: Sequence[Weights]) -> list[TableRow]:
    """A row for each unit, and apart for a program that one starts."""
    rows = [
        TableRow(f"{unit}: {program}" if program == JOURNALCTL else unit, sizes)
        for unit, program in sorted(weights[-1])
        if all(sizes := [one.get((unit, program), 0.0) for one in weights])
    ]
    return [*rows, TableRow("all of them", [sum(one.values()) for one in weights])]
