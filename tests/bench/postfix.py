"""A real Postfix under parallel senders: without a milter, with ones, and with the proxy they replace.

One instance, an smtpd for each column, loads by turns. Postfix writes every message to its queue and throws
it away then. The second table says what a message costs and whom, the notes how long the disk takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests import messages
from tests.bench.context import BenchContext
from tests.bench.gate import SMALL, sealed
from tests.bench.mail import disk
from tests.bench.mail.instance import Instance, LoopbackSmtpd, running
from tests.bench.mail.load import SENDERS, Loader, RelayLoad, Subject, measured, middle
from tests.bench.mail.stand import Stand
from tests.bench.policy import BLOCKED, entries
from tests.bench.table import BenchTable, Column, Measured, TableRow
from tests.chat import signature

MESSAGES, ROUNDS = 1000, 5
SIGNER = "peer.lab"  # a domain of the lab, whose DKIM key is in its DNS

NONE, NOTHING, BEST, OURS, FULL, PROXY, DKIM = (
    "no milter",
    "do-nothing pymilter",
    "do-nothing at its best",
    "ours",
    f"ours, {BLOCKED} blocked",
    "proxy before the queue",
    "OpenDKIM, ours",
)
PORTS = {NONE: 22001, NOTHING: 22002, BEST: 22003, OURS: 22004, FULL: 22005, PROXY: 22006, DKIM: 22007}
AFTER_PROXY, PROXY_PORT = 22008, 22009

RATES = (
    Column("messages/s", 0),
    Column("of none", spread=True),
    Column("of nothing", spread=True),
    Column("of best", spread=True),
    Column("of proxy", spread=True),
    Column("median ms", 0),
    Column("p95 ms", 0),
)
COSTS = (
    Column("of none"),
    Column("of nothing"),
    Column("of best"),
    Column("of proxy"),
    Column("Postfix", 0),
    Column("milter/proxy", 0),
    Column("OpenDKIM", 0),
    Column("the rest", 0),
    Column("senders", 0),
    Column("switches", 0),
    Column("idle %", 0),
)

AGAINST = {
    BEST: (NONE, NOTHING),
    OURS: (NONE, NOTHING, BEST, PROXY),
    FULL: (NONE, NOTHING, BEST),
    DKIM: (NONE, NOTHING, BEST),
}

ASKED = f"""\
{SENDERS} senders, {MESSAGES} messages of 4 KB a column and round, one a connection; {ROUNDS} rounds by turns,
ratios within a round, lowest and highest round in brackets. Asked for: ours at least 0.95 of do-nothing and
1.6 of the proxy.
Do-nothing is asked at the very stages that ours is, over the same kind of socket, and answers each as
pymilter does by itself. At its best it answers no more than ours and asks for no more macros, which is what
`make bench ONLY=milters` shows to help; ours can then only lose. No TLS, no login, no delivery: a message is
written to the queue, with fsync, and then discarded."""
COSTS_NOTE = """\
The rest: what else the relay does meanwhile, its journal above all.
The ratios are those of the table above by CPU of Postfix and the programs, which others here disturb less.
Idle: of the machine's processors, disk waits included. Switches: context switches of Postfix, programs."""


def measure(context: BenchContext) -> Sequence[BenchTable]:
    with TemporaryDirectory() as directory, Stand(context.lab) as stand:
        letters = write_letters(Path(directory), stand)
        ours, opendkim = stand.ours(), stand.opendkim()
        full = stand.ours("full", entries(BLOCKED))
        best = stand.stages(ours)
        nothing = stand.nothing("nothing", best.plain)
        nothing_at_best = stand.nothing("best", best)
        services = {
            NONE: LoopbackSmtpd(PORTS[NONE], submitted()),
            NOTHING: LoopbackSmtpd(PORTS[NOTHING], submitted(nothing.address)),
            BEST: LoopbackSmtpd(PORTS[BEST], submitted(nothing_at_best.address)),
            OURS: LoopbackSmtpd(PORTS[OURS], submitted(ours.address)),
            FULL: LoopbackSmtpd(PORTS[FULL], submitted(full.address)),
            PROXY: LoopbackSmtpd(PORTS[PROXY], {"smtpd_proxy_filter": f"127.0.0.1:{PROXY_PORT}"}),
            DKIM: LoopbackSmtpd(PORTS[DKIM], received(opendkim.address, ours.address)),
        }
        after = LoopbackSmtpd(AFTER_PROXY, {"smtpd_authorized_xforward_hosts": "127.0.0.0/8"})
        proxy = stand.proxy(PROXY_PORT, AFTER_PROXY)
        programs = {
            NOTHING: [nothing.group],
            BEST: [nothing_at_best.group],
            OURS: [ours.group],
            FULL: [full.group],
            PROXY: [proxy],
            DKIM: [ours.group, opendkim.group],
        }
        subjects = {
            name: Subject(service, programs.get(name, []), letters[name is DKIM])
            for name, service in services.items()
        }
        with running(stand, [*services.values(), after]) as postfix:
            context.say(f"{len(subjects)} columns, {ROUNDS} rounds of {MESSAGES} messages")
            loader = Loader(stand, postfix, MESSAGES)
            loads = loader.rounds(subjects, ROUNDS)
            syncs = fsyncs(stand, postfix, subjects[NONE])
    return (
        BenchTable(
            "Postfix with milters, and with a proxy", RATES, rates(loads), ASKED + loader.not_measured
        ),
        costs(loads, syncs),
    )


def write_letters(directory: Path, stand: Stand) -> tuple[Path, Path]:
    """A chat message as many users of ours send it, and one that a peer has signed."""
    armor, _ = sealed(SMALL)
    own, signed = directory / "own.eml", directory / "signed.eml"
    own.write_bytes(messages.encrypted(armor, sender="SENDER@bench.lab"))
    peers = messages.encrypted(armor, sender=f"alice@{SIGNER}")
    signed.write_bytes(signature.sign(peers, SIGNER, stand.lab.paths))
    return own, signed


def submitted(*milters: str) -> Mapping[str, str]:
    """Options of an smtpd whose mail is taken for our own users'."""
    return {"milter_macro_daemon_name": "submission", "smtpd_milters": ", ".join(milters)}


def received(*milters: str) -> Mapping[str, str]:
    """Options of an smtpd whose mail is taken for peers'."""
    return {"milter_macro_daemon_name": "smtp", "smtpd_milters": ", ".join(milters)}


def fsyncs(stand: Stand, postfix: Instance, subject: Subject) -> disk.Syncs:
    """What the disk takes of a message, looked at in a load of its own."""
    few = MESSAGES // 4
    with disk.watched(stand, postfix) as seen:
        Loader(stand, postfix, few).load(subject)
    return seen.each(few)


def rates(loads: Mapping[str, Sequence[RelayLoad]]) -> list[TableRow]:
    """Messages a second, and of what."""
    rate = {name: measured(many, lambda one: one.rate) for name, many in loads.items()}
    rows = []
    for name, many in loads.items():
        waits = [middle(many, lambda one: one.median * 1e3), middle(many, lambda one: one.p95 * 1e3)]
        rows.append(TableRow(name, [rate[name], *compared(name, rate), *waits]))
    return rows


def compared(name: str, figures: Mapping[str, Measured]) -> list[Measured | None]:
    """What is asked for of a column, as ratios: of no milter, of do-nothing, of the proxy."""
    against = AGAINST.get(name, (NONE,))
    return [
        figures[name].over(figures[other]) if other in against and other in figures else None
        for other in (NONE, NOTHING, BEST, PROXY)
    ]


def costs(loads: Mapping[str, Sequence[RelayLoad]], syncs: disk.Syncs) -> BenchTable:
    """What a message costs, and whom."""
    wait = middle(loads[NONE], lambda one: one.median * 1e3)
    notes = (
        f"Without milter {syncs.count:.2f} fsync a message, {syncs.milliseconds:.1f} ms each (strace, in a "
        f"load of its own), of {wait:.0f} ms from connect to the answer.\n{COSTS_NOTE}"
    )
    done = {name: measured(many, lambda one: 1 / spent(one)) for name, many in loads.items()}
    rows = [TableRow(name, [*compared(name, done), *parts(many)]) for name, many in loads.items()]
    return BenchTable("Where it goes: µs of CPU a message", COSTS, rows, notes)


def spent(load: RelayLoad) -> float:
    """CPU of what a column is about: Postfix and its programs, neither senders nor journal."""
    return load.postfix + sum(load.programs)


def parts(loads: Sequence[RelayLoad]) -> Sequence[float | None]:
    programs = [median(times) for times in zip(*(one.programs for one in loads), strict=True)]
    milter, verifier = [*programs, None, None][:2]
    return (
        middle(loads, lambda one: one.postfix),
        milter,
        verifier,
        middle(loads, lambda one: one.rest),
        middle(loads, lambda one: one.senders),
        middle(loads, lambda one: one.switches),
        middle(loads, lambda one: one.idle * 100),
    )
