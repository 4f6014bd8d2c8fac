"""One dead peer among twenty with a steady flow: what the other nineteen see of it.

The whole way from the user: submission on 465, gate, signature, queue, relay, HTTPS. Both relays of the lab
send to the same peers at the same time, and one of these is dead, to one relay alone: whatever else this
machine does slows both. The relays change places within each round, and the ways of being dead take turns.
The dead one is not known to be dead when a round begins; mail for it goes back to Postfix and waits there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory

from tests import messages
from tests.bench.context import BenchContext
from tests.bench.gate import SMALL, sealed
from tests.bench.mail.group import host_cpu
from tests.bench.mail.outside import DOMAINS, PEERS, OutsideHost, OutsideMessage, outside
from tests.bench.rounds import interleaved
from tests.bench.table import BenchTable, Column, Measured, TableRow
from tests.chat import relay
from tests.lab.host import LabHost
from tests.lab.wait import until

RATE, SECONDS, ROUNDS = 15.0, 15.0, 3
# Of each relay; each sends less than the 60 messages a minute that it may.
USERS = 20
DEAD = PEERS - 1
LATE = 60.0  # seconds for the mail of a round to arrive

NONE = "none is"

NOTES = f"""\
{RATE:.0f} messages of 4 KB a second by each of two relays, from {USERS} users each, to {PEERS} domains by
turns; {ROUNDS} rounds of twice {SECONDS:.0f} s by turns. Only mail for the {PEERS - 1} that live is looked
at: how much of it arrives while it is sent, and the time from the user's first word to the arrival at the
peer. Ratios: the relay to which one is dead to the one to which all live, at the same time; 1 is the same,
less is worse, lowest and highest round in brackets. What "{NONE}" differs from 1 is the machine's doing.
Asked for: at least 0.95."""
INSIDE_NOTES = """\
From queue: from Postfix's 250 to the arrival. CPU: of the relay's host, for each message sent, the dead one's
too. Refused when it was submitted, of the mail for those that live: """


@dataclass(frozen=True)
class SeenByOthers:
    """What came to the nineteen in a round. Seconds; `rate` a second, `refused` messages."""

    rate: float
    median: float
    p95: float
    from_queue: float
    cpu: float
    refused: int


@dataclass(frozen=True)
class DeadAndOther:
    """What the nineteen saw of the relay to which one is dead, and at the same time of the other."""

    here: SeenByOthers
    there: SeenByOthers


@dataclass(frozen=True)
class Figure:
    """What is looked at: its column, and whether more of it is better."""

    title: str
    digits: int
    of: Callable[[SeenByOthers], float]
    more_is_better: bool = False

    @property
    def columns(self) -> tuple[Column, Column]:
        name = self.title.partition(",")[0]
        return Column(self.title, self.digits), Column(f"{name}: ratio", spread=True)


SEEN = (
    Figure("messages/s", 1, lambda one: one.rate, more_is_better=True),
    Figure("median, ms", 1, lambda one: one.median * 1e3),
    Figure("p95, ms", 1, lambda one: one.p95 * 1e3),
)
INSIDE = (
    Figure("from queue, ms", 1, lambda one: one.from_queue * 1e3),
    Figure("CPU, ms", 1, lambda one: one.cpu * 1e3),
)

Die = Callable[[int, LabHost], None]


def measure(context: BenchContext) -> Sequence[BenchTable]:
    hosts = [context.lab.host(name) for name in ("a", "b")]
    with TemporaryDirectory() as directory:
        letter = Path(directory) / "letter.eml"
        letter.write_bytes(messages.encrypted(sealed(SMALL)[0], sender="SENDER@bench.lab"))
        with outside(context.lab, hosts, letter, USERS) as peers:
            ways: Mapping[str, Die] = {
                NONE: lambda _number, _host: None,
                "port closed": peers.close_ports,
                "packets dropped": peers.drop,
                "hangs after TLS": peers.hang,
            }
            context.say("a round to warm up")
            one_round(hosts, peers, ways[NONE])
            context.say(f"{len(ways)} ways, {ROUNDS} rounds of twice {SECONDS:.0f} s")
            cases = {name: partial(both_turns, hosts, peers, way) for name, way in ways.items()}
            seen = interleaved(cases, ROUNDS)
    return (
        table("One of twenty peers is dead: what the other nineteen see", SEEN, seen, NOTES),
        table("And inside of the relay", INSIDE, seen, f"{INSIDE_NOTES}{refused(seen)}."),
    )


def both_turns(hosts: Sequence[LabHost], peers: OutsideHost, die: Die) -> Sequence[DeadAndOther]:
    """A peer dead to the one relay, then to the other: they are never quite equal."""
    return [one_round(turned, peers, die) for turned in (hosts, hosts[::-1])]


def one_round(hosts: Sequence[LabHost], peers: OutsideHost, die: Die) -> DeadAndOther:
    """One round; to the first of `hosts` a peer is dead. Afterwards all live and the queues are empty."""
    for host in hosts:
        relay.operate(host, "endpoints", "forget", DOMAINS[DEAD])
    found = peers.arrived()
    die(DEAD, hosts[0])
    before = [host_cpu(host) for host in hosts]
    try:
        sent = dict(zip((host.name for host in peers.hosts), peers.send(RATE, SECONDS), strict=True))
        expected = {one.recipient for many in sent.values() for one in many if one.queued and lives(one)}

        def all_came() -> bool:
            found.update(peers.arrived())
            return expected <= found.keys()

        until(all_came, LATE, "see what is in the relays' queues")
        spent = [host_cpu(host) - then for host, then in zip(hosts, before, strict=True)]
    finally:
        peers.revive()
        for host in hosts:
            empty(host)
    return DeadAndOther(*(look(sent[host.name], found, cpu) for host, cpu in zip(hosts, spent, strict=True)))


def lives(one: OutsideMessage) -> bool:
    return not one.recipient.endswith(f"@{DOMAINS[DEAD]}")


def look(sent: Sequence[OutsideMessage], found: Mapping[str, float], cpu: float) -> SeenByOthers:
    live = [one for one in sent if lives(one)]
    begin, end = min(one.began for one in live), max(one.began for one in live)
    came = [(one, found[one.recipient]) for one in live if one.queued]
    whole = sorted(at - one.began for one, at in came)
    return SeenByOthers(
        rate=sum(at <= end for _, at in came) / (end - begin),
        median=median(whole),
        p95=whole[len(whole) * 95 // 100],
        from_queue=median(at - (one.queued or 0) for one, at in came),
        cpu=cpu / len(sent),
        refused=len(live) - len(came),
    )


def empty(host: LabHost) -> None:
    """Throw away what waits for the dead one, and see that nothing is under way."""

    def is_empty() -> bool:
        host.run("postsuper -d ALL")
        return not relay.ctl(host, "queue")

    until(is_empty, LATE, f"see what stays in the queue of {host.name}")


def refused(seen: Mapping[str, Sequence[Sequence[DeadAndOther]]]) -> int:
    pairs = [pair for rounds in seen.values() for turns in rounds for pair in turns]
    return sum(pair.here.refused + pair.there.refused for pair in pairs)


def table(
    title: str, figures: Sequence[Figure], seen: Mapping[str, Sequence[Sequence[DeadAndOther]]], notes: str
) -> BenchTable:
    """A row for each way of being dead: of each round the mean of its turns."""
    rows = []
    for name, rounds in seen.items():
        cells: list[Measured] = []
        for figure in figures:
            here = Measured.of(mean(figure.of(pair.here) for pair in turns) for turns in rounds)
            there = Measured.of(mean(figure.of(pair.there) for pair in turns) for turns in rounds)
            better, worse = (here, there) if figure.more_is_better else (there, here)
            cells += [here, better.over(worse)]
        rows.append(TableRow(name, cells))
    return BenchTable(title, [column for figure in figures for column in figure.columns], rows, notes)
