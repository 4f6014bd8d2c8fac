"""What a do-nothing pymilter can be brought to: socket, stages, replies, processes, messages a connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import milter

from tests.bench.context import BenchContext
from tests.bench.mail.instance import LoopbackSmtpd, running
from tests.bench.mail.load import SENDERS, Loader, RelayLoad, Subject, measured, middle
from tests.bench.mail.stand import RunningMilter, Stages, Stand
from tests.bench.postfix import spent, submitted, write_letters
from tests.bench.table import BenchTable, Column, TableRow

MESSAGES, ROUNDS = 500, 4
FIRST_PORT, TCP_PORT = 22101, 22100
LONG = 10  # messages a connection, where it isn't one

NONE, NONE_LONG = "no milter", f"no milter, {LONG} messages a connection"
SAME = "unix socket, stages as ours"

# SMFIP_*: nothing is left out but what no client sends; and nobody waits but for the verdict.
EVERY = milter.P_NOUNKNOWN
UNANSWERED = (
    EVERY
    | milter.P_NR_CONN
    | milter.P_NR_HELO
    | milter.P_NR_MAIL
    | milter.P_NR_RCPT
    | milter.P_NR_DATA
    | milter.P_NR_HDR
    | milter.P_NR_EOH
    | milter.P_NR_BODY
)
LEAST = (
    EVERY
    | milter.P_NOHELO
    | milter.P_NOMAIL
    | milter.P_NORCPT
    | milter.P_NODATA
    | milter.P_NOHDRS
    | milter.P_NOEOH
    | milter.P_NOBODY
    | milter.P_NR_CONN
)

COLUMNS = (
    Column("messages/s", 0),
    Column("of no milter", spread=True),
    Column("by CPU", spread=True),
    Column("Postfix µs", 0),
    Column("milter µs", 0),
    Column("switches", 0),
)


@dataclass(frozen=True)
class Variant:
    """How a do-nothing milter differs from one at the stages that ours is at."""

    name: str
    steps: int | None = None
    processes: int = 1
    tcp: int = 0
    per_session: int = 1


VARIANTS = (
    Variant(SAME),
    Variant("the same over TCP", tcp=TCP_PORT),
    Variant("all stages, each answered", steps=EVERY),
    Variant("all stages, only the end answered", steps=UNANSWERED),
    Variant("connection and end only", steps=LEAST),
    Variant("as ours, 2 processes on the socket", processes=2),
    Variant("as ours, 4 processes on the socket", processes=4),
    Variant(f"as ours, {LONG} messages a connection", per_session=LONG),
)


def measure(context: BenchContext) -> Sequence[BenchTable]:
    with TemporaryDirectory() as directory, Stand(context.lab) as stand:
        letter, _ = write_letters(Path(directory), stand)
        stages = stand.stages(stand.ours())
        subjects = {
            NONE: Subject(LoopbackSmtpd(FIRST_PORT, submitted()), [], letter),
            NONE_LONG: Subject(LoopbackSmtpd(FIRST_PORT, submitted()), [], letter, LONG),
        }
        for number, variant in enumerate(VARIANTS, 1):
            one = start(stand, f"variant{number}", variant, stages)
            service = LoopbackSmtpd(FIRST_PORT + number, submitted(one.address))
            subjects[variant.name] = Subject(service, [one.group], letter, variant.per_session)
        services = {subject.service.port: subject.service for subject in subjects.values()}
        with running(stand, list(services.values())) as postfix:
            context.say(f"{len(subjects)} variants, {ROUNDS} rounds of {MESSAGES} messages")
            loader = Loader(stand, postfix, MESSAGES)
            loads = loader.rounds(subjects, ROUNDS)
    return (table(loads, stages, loader.not_measured),)


def start(stand: Stand, name: str, variant: Variant, ours: Stages) -> RunningMilter:
    stages = ours if variant.steps is None else Stages(variant.steps, {})
    return stand.nothing(name, stages, processes=variant.processes, tcp=variant.tcp)


def table(loads: Mapping[str, Sequence[RelayLoad]], stages: Stages, failed: str) -> BenchTable:
    rows = []
    for name, many in loads.items():
        base = loads[NONE_LONG if name.endswith(f"{LONG} messages a connection") else NONE]
        rate, other = (measured(each, lambda one: one.rate) for each in (many, base))
        cpu, other_cpu = (measured(each, spent) for each in (many, base))
        costs = (
            middle(many, lambda one: one.postfix),
            middle(many, lambda one: sum(one.programs)),
            middle(many, lambda one: one.switches),
        )
        rows.append(TableRow(name, (rate, rate.over(other), other_cpu.over(cpu), *costs)))
    notes = (
        f"{SENDERS} senders, {MESSAGES} messages of 4 KB, {ROUNDS} rounds by turns. Ours negotiates "
        f"{stages.steps:#x} (SMFIP_*), macros {stages.macros}.{failed}"
    )
    return BenchTable("A do-nothing pymilter", COLUMNS, rows, notes)
