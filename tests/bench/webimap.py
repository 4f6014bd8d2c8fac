"""A web client's WebSocket beside a client in IDLE: how much later it is told, and what a thousand take."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests import messages
from tests.bench.context import BenchContext
from tests.bench.gate import SMALL, sealed
from tests.bench.mail.hibernation import accounts
from tests.bench.mail.units import Units
from tests.bench.table import BenchTable, Column, Measured, TableRow
from tests.chat import smtp
from tests.chat.imap import ImapMailbox
from tests.chat.webimap import Socket, logged_in
from tests.lab.host import LabHost
from tests.lab.visitor import seen_as

ROUNDS, MESSAGES = 3, 20
PER_WRITER = 8  # a user may send ten at once
IDLE = 2.0  # seconds
# So many sockets, of which so many are an account's, and an address's.
SOCKETS, OF_ONE_ACCOUNT, OF_ONE_ADDRESS = int(os.environ.get("SOCKETS", "200")), 20, 140
WEBIMAP, DOVECOT, NGINX = UNITS = ("chatmail-webimap", "dovecot", "nginx")
# What Dovecot keeps of a session: its TLS, and the session itself, asleep or with a process of its own.
SESSION = ("imap-login", "imap-hibernate", "imap")

PUSH = (
    Column("median ms", 1, spread=True),
    Column("p95 ms", 1, spread=True),
    Column("messages", 0),
)
PUSH_NOTES = f"""\
From the EXISTS that a plain client in IDLE reads to the new_message that a WebSocket of the same account
reads, for the same message; both had idled for {IDLE:g} s. {ROUNDS} rounds: median and p95 of a round, and in
brackets those of the lowest and the highest. Below zero: the WebSocket was told first."""

COST = (Column("MiB before", 1), Column("with half", 1), Column("with all", 1), Column("for 1000 more", 1))
COST_NOTES = f"""\
PSS of all processes of each service in MiB: after a restart, while {SOCKETS // 2} sockets idle, and while
{SOCKETS} do, {OF_ONE_ACCOUNT} of each account; without what the kernel keeps. The last column: what the
second half took, times {1000 / (SOCKETS - SOCKETS // 2):g}; the first half pays for what is needed once. Each
has a TLS session with nginx and, as the user's own IMAP session, one with Dovecot; the `imap` processes are
those that the last logins used. `SOCKETS=1000 make bench ONLY=webimap` opens so many."""

# MiB by service and program.
Weights = Mapping[str, Mapping[str, float]]


def measure(context: BenchContext) -> Sequence[BenchTable]:
    relay = context.lab.host("a")
    context.say(f"{ROUNDS * MESSAGES} messages, one at a time")
    table = push(relay)
    context.say(f"{SOCKETS} sockets")
    return table, cost(relay)


def push(host: LabHost) -> BenchTable:
    """How much later a WebSocket is told."""
    armor, _ = sealed(SMALL)
    reader, *writers = accounts(host, 2 + ROUNDS * MESSAGES // PER_WRITER)
    rounds = []
    with (
        ImapMailbox(host.ip, *reader) as mailbox,
        logged_in(host, reader) as socket,
        ThreadPoolExecutor(1) as pool,
    ):
        sent = 0
        for _ in range(ROUNDS):
            later = []
            for _ in range(MESSAGES):
                mailbox.begin_idle()
                assert mailbox.stays_quiet(IDLE)
                writer = writers[sent // PER_WRITER]
                told = pool.submit(mailbox.wait_exists)
                text = messages.encrypted(armor, sender=writer[0])
                assert smtp.submit(host.ip, writer, [reader[0]], text).code == 250
                socket.new_message()
                later.append((socket.received - told.result()) * 1000)
                mailbox.end_idle()
                sent += 1
            rounds.append(sorted(later))
    cells = [Measured.of(times[len(times) * share // 100] for times in rounds) for share in (50, 95)]
    return BenchTable(
        "A WebSocket beside IDLE",
        PUSH,
        [TableRow("later than IDLE", (*cells, float(ROUNDS * MESSAGES)))],
        PUSH_NOTES,
    )


def cost(host: LabHost) -> BenchTable:
    """What idle sockets take."""
    # The first has mail from `push`: its sockets would be told of it, and close slowly where nobody reads.
    _, *logins = accounts(host, 1 + math.ceil(SOCKETS / OF_ONE_ACCOUNT))
    # Else memory that is free in them from earlier ones would be taken again, and not be seen.
    host.run(["systemctl", "restart", *UNITS])
    # It starts with the first.
    with logged_in(host, logins[0]):
        found = [weights(host)]
    with ExitStack() as stack:
        sockets: list[Socket] = []
        for number in range(SOCKETS):
            if number % OF_ONE_ADDRESS == 0:
                # The address stays for as long as the sockets: they would be cut off without it.
                stack.enter_context(seen_as(f"10.77.0.{210 + number // OF_ONE_ADDRESS}", host.ip))
            sockets.append(stack.enter_context(logged_in(host, logins[number // OF_ONE_ACCOUNT])))
            if len(sockets) in (SOCKETS // 2, SOCKETS):
                # The last ones are hibernated then.
                end = time.monotonic() + IDLE
                while time.monotonic() < end:
                    sockets[0].result("list_mailboxes")
                found.append(weights(host))
    return BenchTable("Memory of idle sockets", COST, rows(found), COST_NOTES)


def rows(found: Sequence[Weights]) -> list[TableRow]:
    """A row for each service; Dovecot's IMAP sessions once more, by program."""
    programs = {name: (name, sorted({one for weights in found for one in weights[name]})) for name in UNITS}
    programs |= {f"{DOVECOT}: IMAP sessions": (DOVECOT, list(SESSION))}
    programs |= {f"- {one}": (DOVECOT, [one]) for one in SESSION}
    taken = {
        row: [sum(weights[unit].get(one, 0.0) for one in some) for weights in found]
        for row, (unit, some) in programs.items()
    }
    taken["all three services"] = [sum(each) for each in zip(*(taken[name] for name in UNITS), strict=True)]
    return [
        TableRow(row, (*sizes, (sizes[2] - sizes[1]) * 1000 / (SOCKETS - SOCKETS // 2)))
        for row, sizes in taken.items()
    ]


def weights(host: LabHost) -> Weights:
    """MiB by service and program."""
    services = Units(host, UNITS)
    return {name: services.proportional(name) for name in UNITS}
