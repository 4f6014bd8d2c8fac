"""A web client's WebSocket beside a client in IDLE: how much later it is told, and what a thousand cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
# A thousand sockets: of so many an account has, and an address.
SOCKETS, OF_ONE_ACCOUNT, OF_ONE_ADDRESS = 1000, 20, 140
UNITS = ("chatmail-webimap", "dovecot", "nginx")

PUSH = (
    Column("median ms", 1, spread=True),
    Column("p95 ms", 1, spread=True),
    Column("messages", 0),
)
PUSH_NOTES = f"""\
From the EXISTS that a plain client in IDLE reads to the new_message that a WebSocket of the same account
reads, for the same message; both had idled for {IDLE:g} s. {ROUNDS} rounds: median and p95 of a round, and in
brackets those of the lowest and the highest. Below zero: the WebSocket was told first."""

COST = (Column("MiB before", 1), Column("MiB with them", 1), Column("MiB for 1000", 1))
COST_NOTES = f"""\
PSS of all processes of each service, before and while {SOCKETS} sockets idle, {OF_ONE_ACCOUNT} of each
account; without what the kernel keeps. Each has a TLS session with nginx, and one with Dovecot."""


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
    logins = accounts(host, SOCKETS // OF_ONE_ACCOUNT)
    # It starts with the first.
    with logged_in(host, logins[0]):
        before = weights(host)
    with ExitStack() as stack:
        sockets: list[Socket] = []
        for begin in range(0, SOCKETS, OF_ONE_ADDRESS):
            # The address stays for as long as the sockets: they would be cut off without it.
            stack.enter_context(seen_as(f"10.77.0.{210 + begin // OF_ONE_ADDRESS}", host.ip))
            for number in range(begin, min(begin + OF_ONE_ADDRESS, SOCKETS)):
                sockets.append(stack.enter_context(logged_in(host, logins[number // OF_ONE_ACCOUNT])))
        # The last ones are hibernated then.
        end = time.monotonic() + IDLE
        while time.monotonic() < end:
            sockets[0].result("list_mailboxes")
        after = weights(host)
    rows = [TableRow(name, (before[name], after[name], after[name] - before[name])) for name in UNITS]
    total = [sum(one.values()) for one in (before, after)]
    rows.append(TableRow("all of them", (*total, total[1] - total[0])))
    return BenchTable("Memory of a thousand idle sockets", COST, rows, COST_NOTES)


def weights(host: LabHost) -> dict[str, float]:
    """MiB by service."""
    services = Units(host, UNITS)
    return {name: sum(services.proportional(name).values()) for name in UNITS}
