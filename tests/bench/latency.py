"""From MAIL to the EXISTS that an idling client reads, one message at a time in an idle lab, stage by stage.

On one relay, across two of them over HTTPS, and on the same Postfix and Dovecot without us. Every client has
idled for longer than Dovecot needs to hibernate it. `notice` has the roads beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.context import BenchContext
from tests.bench.mail.sides import Bench, BenchSide, Ours, SideLoad, bench
from tests.bench.mail.submission import DATA, GREETING, HANDSHAKE, LOGIN, MAIL, QUEUED, RCPT
from tests.bench.mail.users import NOTICE, TOTAL
from tests.bench.rounds import interleaved
from tests.bench.table import BenchTable, Column, Measured, TableRow

PAIRS, ROUNDS = 20, 5
IDLE = 2.0  # seconds

OURS, ACROSS, STACK = "ours, one relay", "ours, across, HTTPS", "reference, one host"

STAGES = (HANDSHAKE, GREETING, LOGIN, MAIL, RCPT, DATA, QUEUED, NOTICE)
COLUMNS = (
    Column("median ms", 1, spread=True),
    Column("of the reference", 2, spread=True),
    *(Column(stage, 1) for stage in STAGES),
)
NOTES = f"""\
{PAIRS} senders, each logged in on port 465, and a reader for each, who idles for {IDLE:g} s at least; one
message of 4 KB after the other, {ROUNDS} rounds by turns; medians, in brackets those of the lowest and the
highest round. Asked for: 15 ms on one relay, 25 ms across, and a greeting within 2 ms. The senders log in at
once."""


def measure(context: BenchContext) -> Sequence[BenchTable]:
    a, b = context.lab.host("a"), context.lab.host("b")
    with TemporaryDirectory() as directory, bench(a, Path(directory)) as both:
        context.say(f"{ROUNDS} rounds of {PAIRS} messages, three roads")
        cases = {
            OURS: partial(alone, both, both.ours, both.ours),
            ACROSS: partial(alone, both, both.ours, Ours(b)),
            STACK: partial(alone, both, both.stack, both.stack),
        }
        for case in cases.values():
            case()
        loads = interleaved(cases, ROUNDS)
    return (BenchTable("Latency: ms from MAIL to EXISTS", COLUMNS, rows(loads), NOTES),)


def alone(both: Bench, side: BenchSide, other: BenchSide) -> SideLoad:
    """A round: users of one side write to those of another."""
    writers, readers = side.people(PAIRS), other.people(PAIRS)
    return both.load(
        side, [[writer] for writer in writers], readers, 1, imap=other.imap, idle=IDLE, apart=True
    )


def rows(loads: Mapping[str, Sequence[SideLoad]]) -> list[TableRow]:
    def middle(name: str, stage: str) -> Measured:
        return Measured.of(median(one.report.stages[stage]) for one in loads[name])

    total = {name: middle(name, TOTAL) for name in loads}
    return [
        TableRow(
            name,
            (
                total[name],
                None if name == STACK else total[name].over(total[STACK]),
                *(middle(name, stage) for stage in STAGES),
            ),
        )
        for name in loads
    ]
