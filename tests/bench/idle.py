"""From LMTP to the notice that an idling client reads, as we deploy Dovecot and with its stock setting.

Stock is `imap_hibernate_timeout` off, everything else equal: one relay is so, the other as the playbook makes
it, both are measured at the same time, and then they change places. Also what a thousand clients cost. What
happens before LMTP is in `notice`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from tests.bench.context import BenchContext
from tests.bench.gate import SMALL, sealed
from tests.bench.mail.hibernation import accounts, changeable, switch
from tests.bench.mail.idle_side import PACE, IdleSide, until_then
from tests.bench.table import BenchTable, Cell, Column, Measured, TableRow

OURS, STOCK = "as deployed", "stock"
ROUNDS = 2
# The clients that are connected, the most first: those who stay have idled all the while.
COUNTS = (1000, 100, 1)
# Seconds, and how often where there is but one client. The longest is waited for once, by all.
IDLES: Mapping[float, int] = MappingProxyType({0.02: 8, 0.2: 8, 1.5: 4, 10.0: 1})
LONGEST = 120.0
# A message to so many at once, how often.
GROUP, GROUP_TIMES = 40, 3
GROUP_ROW = f"100, a message to {GROUP} of them"

COLUMNS = (
    Column("median ms", 0, spread=True),
    Column("stock", 0, spread=True),
    Column("ratio", 3, spread=True),
    Column("p95 ms", 0, spread=True),
    Column("stock p95", 0, spread=True),
    Column("p95 ratio", 3, spread=True),
    Column("messages", 0),
)
NOTES = f"""\
From before MAIL FROM, in an LMTP session with Dovecot that is open, to the EXISTS that the client reads over
TLS; 4 KB messages, one at a time at each relay; {ROUNDS} rounds, in the second the relays change places.
Median and p95 of a round, and in brackets those of both. Idle: since the server's `+ idling`;
{LONGEST:.0f} s is that or more. Stock: imap_hibernate_timeout = 0. Not connected: """

COSTS = (
    Column("MiB for 1000", 1, spread=True),
    Column("of stock", 3, spread=True),
    Column("of it imap-login", 1),
    Column("MiB before", 1),
    Column("MiB with them", 1),
    Column("processes", 0),
)
COST_NOTES = f"""\
PSS of all processes of dovecot.service, before the first client came and when {COUNTS[0]} had idled for
{LONGEST:.0f} s; without what the kernel keeps for sockets and inotify. imap-login holds the TLS of each."""


def measure(context: BenchContext) -> Sequence[BenchTable]:
    hosts = context.lab.host("a"), context.lab.host("b")
    _, message = sealed(SMALL)
    logins = {host.name: accounts(host, COUNTS[0]) for host in hosts}
    rounds: list[Mapping[str, IdleSide]] = []
    with changeable(hosts):
        for number in range(ROUNDS):
            first, second = hosts if number % 2 == 0 else hosts[::-1]
            sides = {
                name: IdleSide(host, logins[host.name], message)
                for name, host in {OURS: first, STOCK: second}.items()
            }
            context.say(f"round {number + 1}: {first.domain} {OURS}, {second.domain} {STOCK}")
            for name, side in sides.items():
                switch(side.host, sleeps=name == OURS)
            asyncio.run(play(sides, context))
            rounds.append(sides)
    return notices(rounds), costs(rounds)


async def play(sides: Mapping[str, IdleSide], context: BenchContext) -> None:
    """One round, at both relays at the same time."""
    both = tuple(sides.values())
    await asyncio.gather(*(side.come() for side in both))
    came = max(client.since for side in both for client in side.crowd.clients)
    context.say(f"{' and '.join(str(side.connected) for side in both)} clients idle")
    await briefly(both, COUNTS[0])
    await until_then(came + LONGEST)
    for side in both:
        side.weigh()
    await long(both, COUNTS[0])
    for count in COUNTS[1:]:
        await asyncio.gather(*(side.keep(count) for side in both))
        await long(both, count)
        await briefly(both, count)
        if count > GROUP:
            for side in both:
                await side.group(GROUP_ROW, GROUP, GROUP_TIMES)
    await asyncio.gather(*(side.keep(0) for side in both))


async def briefly(both: Sequence[IdleSide], count: int) -> None:
    for idle, alone in IDLES.items():
        row = row_name(count, idle)
        await asyncio.gather(
            *(side.briefly(row, count, idle, late, alone) for side, late in taking_turns(both))
        )


async def long(both: Sequence[IdleSide], count: int) -> None:
    row = row_name(count, LONGEST)
    await asyncio.gather(*(side.long(row, count, LONGEST, late) for side, late in taking_turns(both)))


def taking_turns(both: Sequence[IdleSide]) -> Iterator[tuple[IdleSide, float]]:
    """The second one's messages come half way between those of the first."""
    return ((side, number * PACE / 2) for number, side in enumerate(both))


def row_name(count: int, idle: float) -> str:
    """Of what is tried with so many clients."""
    return f"{count}, idle for {idle:g} s"


def notices(rounds: Sequence[Mapping[str, IdleSide]]) -> BenchTable:
    """How soon, by clients and idle time."""
    names = [row_name(count, idle) for count in sorted(COUNTS) for idle in (*IDLES, LONGEST)]
    rows = []
    for name in [*names, GROUP_ROW]:
        ours, stock = ([sides[which].waits[name] for sides in rounds] for which in (OURS, STOCK))
        cells = [cell for share in (50, 95) for cell in compared(ours, stock, share)]
        rows.append(TableRow(name, (*cells, float(sum(map(len, ours))))))
    return BenchTable(
        "From LMTP to the notice, with so many idling clients", COLUMNS, rows, NOTES + absent(rounds)
    )


def compared(ours: Sequence[list[float]], stock: Sequence[list[float]], share: int) -> Sequence[Cell]:
    """Ours, stock and the ratio, at that percentile of each round; None where there is nothing to show."""
    one, other = (
        Measured.of(times[len(times) * share // 100] for times in many) if all(many) else None
        for many in (ours, stock)
    )
    return one, other, one.over(other) if one and other else None


def absent(rounds: Sequence[Mapping[str, IdleSide]]) -> str:
    """Who could not connect, and the first reason that they met."""
    found = [
        f"{len(troubles)} of {len(side.logins)} at {side.host.domain}, {name}: {troubles[0]}"
        for sides in rounds
        for name, side in sides.items()
        if (troubles := side.crowd.trouble)
    ]
    return "; ".join(found) or "none of them."


def costs(rounds: Sequence[Mapping[str, IdleSide]]) -> BenchTable:
    """What a thousand clients take."""
    each = {name: Measured.of(grown(sides[name]) for sides in rounds) for name in (OURS, STOCK)}
    rows = [
        TableRow(
            name,
            (
                each[name],
                None if name == STOCK else each[name].over(each[STOCK]),
                Measured.of(grown(sides[name], "imap-login") for sides in rounds),
                Measured.of(sum(sides[name].before.values()) for sides in rounds),
                Measured.of(sum(sides[name].after.values()) for sides in rounds),
                Measured.of(sides[name].processes for sides in rounds),
            ),
        )
        for name in (OURS, STOCK)
    ]
    return BenchTable("Memory of a thousand idling clients", COSTS, rows, COST_NOTES)


def grown(side: IdleSide, program: str = "") -> float:
    """MiB that its clients cost, for a thousand of them; of one program if it is named."""
    grew = {name: taken - side.before.get(name, 0.0) for name, taken in side.after.items()}
    return (grew.get(program, 0.0) if program else sum(grew.values())) / side.connected * 1000
