"""A relay under many users, beside what its Postfix and Dovecot do without us, with the stages of a message.

Each user logs in twice and sends ten messages each time, on port 465, to users of the same relay. Both sides
are on one host, measured by turns. `latency` has the same stages in an idle lab.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.context import BenchContext
from tests.bench.mail.sides import PARTS, PROGRAMS, Bench, BenchSide, SideLoad, bench
from tests.bench.mail.submission import DATA, GREETING, HANDSHAKE, LOGIN, MAIL, QUEUED, RCPT
from tests.bench.mail.users import NOTICE
from tests.bench.rounds import interleaved
from tests.bench.table import BenchTable, Column, Measured, TableRow

SENDERS, SESSIONS, MESSAGES, ROUNDS = 20, 2, 10, 5
IDLE = 2.0  # seconds that readers idle before, where they do

OURS, STACK = "ours", "reference"
# Without chatmail-wake the reference forgets to tell of some messages in a burst.
WATCHED = "ours, readers idle"

RATES = (
    Column("messages/s", 1, spread=True),
    Column("of the reference", 2, spread=True),
    Column("by CPU", 2, spread=True),
)
COSTS = (
    Column("all", 1, spread=True),
    *(Column(part, 1) for part in PARTS),
    Column("the rest", 1),
    Column("clients", 1),
)
EACH = [(part, program) for part, programs in PROGRAMS.items() for program in programs]
PROGRAM_COLUMNS = tuple(Column(f"{part[0]}: {program}", 1) for part, program in EACH)
STAGES = (HANDSHAKE, GREETING, LOGIN, MAIL, RCPT, DATA, QUEUED, NOTICE)
STAGE_COLUMNS = tuple(Column(stage, 1) for stage in STAGES)

NOTES = f"""\
{SENDERS} senders at once, a reader for each; each logs in {SESSIONS} times and sends {MESSAGES} messages of
4 KB each time, one command after the other; {ROUNDS} rounds by turns, in brackets the lowest and the
highest. Until the last 250: the message is in the queue, with fsync. Asked for: 0.7 of the reference. The
reference is the same Postfix and Dovecot on the same host with TLS, logins and IDLE, and none of our parts.
By CPU: all that the server spent a message."""
COSTS_NOTE = """\
Until the queue is empty, so delivery is in it. The rest: nginx, unbound, systemd and others. The clients run
on the same processors."""
PROGRAMS_NOTE = "P: of Postfix, D: of Dovecot. Of processes that were there at the end; most are used again."
STAGES_NOTE = "Medians of all rounds, under that load. The first three are once a session."


def measure(context: BenchContext) -> Sequence[BenchTable]:
    with TemporaryDirectory() as directory, bench(context.lab.host("a"), Path(directory)) as both:
        context.say(f"{ROUNDS} rounds of {SENDERS * SESSIONS * MESSAGES} messages, three cases")
        cases = {
            OURS: partial(loaded, both, both.ours, 0),
            STACK: partial(loaded, both, both.stack, 0),
            WATCHED: partial(loaded, both, both.ours, IDLE),
        }
        for case in cases.values():
            case()
        loads = interleaved(cases, ROUNDS)
    return (
        BenchTable("Throughput", RATES, rates(loads), NOTES),
        BenchTable("Throughput: ms of CPU a message", COSTS, costs(loads), COSTS_NOTE),
        BenchTable(
            "Throughput: ms of CPU a message, by program", PROGRAM_COLUMNS, programs(loads), PROGRAMS_NOTE
        ),
        BenchTable("Throughput: ms until the answer", STAGE_COLUMNS, stages(loads), STAGES_NOTE),
    )


def loaded(both: Bench, side: BenchSide, idle: float) -> SideLoad:
    """A round, by users who have not sent before: a user may send ten messages at once, and one a second
    then."""
    people = side.people(SENDERS * (SESSIONS + 1))
    readers, writers = people[:SENDERS], people[SENDERS:]
    sessions = [writers[at : at + SESSIONS] for at in range(0, len(writers), SESSIONS)]
    return both.load(side, sessions, readers, MESSAGES, idle=idle)


def rates(loads: Mapping[str, Sequence[SideLoad]]) -> list[TableRow]:
    total = SENDERS * SESSIONS * MESSAGES
    rate = {name: Measured.of(total / one.report.seconds for one in many) for name, many in loads.items()}
    spent = {name: Measured.of(one.everything for one in many) for name, many in loads.items()}
    rows = []
    for name in loads:
        ratios = (
            (rate[name].over(rate[STACK]), spent[STACK].over(spent[name])) if name == OURS else (None, None)
        )
        rows.append(TableRow(name, (rate[name], *ratios)))
    return rows


def costs(loads: Mapping[str, Sequence[SideLoad]]) -> list[TableRow]:
    rows = []
    for name, many in loads.items():
        parts = [
            Measured.of(one.parts[part] for one in many) if part in many[0].parts else None for part in PARTS
        ]
        rest = Measured.of(one.everything - sum(one.parts.values()) for one in many)
        clients = Measured.of(one.clients for one in many)
        rows.append(TableRow(name, (Measured.of(one.everything for one in many), *parts, rest, clients)))
    return rows


def programs(loads: Mapping[str, Sequence[SideLoad]]) -> list[TableRow]:
    return [
        TableRow(name, [Measured.of(one.programs[each] for one in many) for each in EACH])
        for name, many in loads.items()
    ]


def stages(loads: Mapping[str, Sequence[SideLoad]]) -> list[TableRow]:
    return [
        TableRow(
            name,
            [
                Measured.of(median(one.report.stages[stage]) for one in many)
                if stage in many[0].report.stages
                else None
                for stage in STAGES
            ],
        )
        for name, many in loads.items()
    ]
