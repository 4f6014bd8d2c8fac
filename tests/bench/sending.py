"""What the relay sends to one peer over HTTPS, beside what Postfix's smtp(8) sends to it in verified TLS.

A queue full of messages is let go, and the time taken until the peer has all. The queue is a second
Postfix's, the relay the installed one, and the peer is so light that it hardly counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic

from tests.bench.context import BenchContext
from tests.bench.mail import sink, units
from tests.bench.mail.group import ControlGroup, host_cpu
from tests.bench.mail.instance import Instance, LoopbackSmtpd, running
from tests.bench.mail.load import WARM, sent
from tests.bench.mail.sessions import Place
from tests.bench.mail.sink import RunningSink
from tests.bench.mail.stand import Stand
from tests.bench.mail.units import Units
from tests.bench.postfix import write_letters
from tests.bench.rounds import interleaved
from tests.bench.table import BenchTable, Column, Measured, TableRow
from tests.chat import relay
from tests.lab import Lab, LabError, ca

MESSAGES, ROUNDS = 1000, 5
PEER = "tls.lab"  # of whom there is an address and no MX
DEADLINE = 120.0  # seconds for the peer to have all

HTTPS, SMTP, REUSED = "the relay, HTTPS", "smtp(8), TLS", "smtp(8), TLS connections reused"
PORTS = {HTTPS: 22301, SMTP: 22302, REUSED: 22303}
FILTERS = {HTTPS: "mxdeliv:unix:/var/spool/postfix/chatmail/relay.sock", SMTP: "plain:", REUSED: "reused:"}

# As the relay's own master.cf has them, but nothing is chrooted, and smtp(8) has no relay to fall back to.
AGENTS = """\
mxdeliv     unix  -  -  n  -    48  lmtp
  -o syslog_name=postfix/mxdeliv
  -o lmtp_header_checks=regexp:$config_directory/smtp_header_checks
plain       unix  -  -  n  -     -  smtp
  -o smtp_header_checks=regexp:$config_directory/smtp_header_checks
reused      unix  -  -  n  -     -  smtp
  -o smtp_header_checks=regexp:$config_directory/smtp_header_checks
  -o smtp_tls_connection_reuse=yes
scache      unix  -  -  n  -     1  scache
pickup      unix  n  -  n  60    1  pickup
tlsproxy    unix  -  -  n  -     0  tlsproxy
"""
SETTINGS = {
    # Kept until all are there.
    "smtpd_client_restrictions": "static:hold",
    # MTA-STS is an option of ours, and would cost only the other side.
    "smtp_tls_policy_maps": "",
}

PARTS = {
    "relay": (units.RELAY,),
    "journal": (units.JOURNAL,),
    "unbound": (units.UNBOUND,),
}
RATES = (
    Column("messages/s", 0),
    Column("of smtp(8)", spread=True),
    Column("of reused", spread=True),
    Column("by CPU, of smtp(8)", spread=True),
    Column("of reused", spread=True),
    Column("connections", 0),
)
COSTS = (
    Column("all", 0),
    Column("Postfix", 0),
    *(Column(part, 0) for part in PARTS),
    Column("the rest", 0),
    Column("the peer", 0),
)
NOTES = f"""\
{MESSAGES} messages of 4 KB in the queue, let go, and the time until the peer has all. {ROUNDS} rounds by
turns, in brackets the lowest and the highest. Asked for: HTTPS at least 0.7 of smtp(8). All verify the peer's
certificate. smtp(8) as it is without further settings opens a connection for each message, 20 at once; the
last one has smtp_tls_connection_reuse = yes (tlsproxy, scache). The relay has 48 at once, from lmtp(8).
By CPU: all that the sending host spent a message."""
COSTS_NOTE = (
    "Postfix: qmgr, its lmtp(8) or smtp(8) and what these ask; putting messages in the queue is not in it."
)


@dataclass(frozen=True)
class SendingLoad:
    """A round. CPU in microseconds a message."""

    rate: float
    everything: float
    postfix: float
    parts: Mapping[str, float]
    peer: float
    connections: int


class BenchQueue:
    """Mail of the relay's users to one peer."""

    def __init__(
        self, stand: Stand, postfix: Instance, senders: ControlGroup, letter: Path, peer: RunningSink
    ) -> None:
        self._stand = stand
        self._postfix = postfix
        self._senders = senders
        self._letter = letter
        self._peer = peer
        self.units = Units(stand.host, [name for names in PARTS.values() for name in names])

    def send(self, road: str, count: int) -> SendingLoad:
        """So many messages by one of `PORTS`; the queue is empty before and after."""
        place = Place("smtp", "127.0.0.1", PORTS[road])
        sent(self._senders, place, self._letter, count, "--kept", "--recipient", f"reader@{PEER}")
        old, before = self._peer.count(), self.units.cpu()
        postfix, everything = self._postfix.group.cost().cpu, host_cpu(self._stand.host)
        began = monotonic()
        self._postfix.release()
        new = self._peer.await_messages(old.messages + count, DEADLINE)
        self._postfix.drain()
        by_https = new.by_https - old.by_https
        if by_https != (count if road == HTTPS else 0):
            raise LabError(
                f"read the journal of {self._stand.host.name}: {by_https} of {count} came by HTTPS"
            )
        each = 1e6 / count
        spent = self.units.since(before)
        return SendingLoad(
            rate=count / (new.last - began),
            everything=(host_cpu(self._stand.host) - everything) * each,
            postfix=(self._postfix.group.cost().cpu - postfix) * each,
            parts={part: sum(spent[name] for name in names) * each for part, names in PARTS.items()},
            peer=(new.cpu - old.cpu) * each,
            connections=new.connections - old.connections,
        )


@contextmanager
def queue(lab: Lab) -> Iterator[BenchQueue]:
    """On _a.lab, with its peer in the client's place."""
    certificate, key = ca.issue(lab.paths.ca, [PEER])
    # As if nothing had been tried with the peer before.
    relay.forget_endpoints(lab.host("a"))
    services = [LoopbackSmtpd(port, {"content_filter": FILTERS[road]}) for road, port in PORTS.items()]
    with (
        TemporaryDirectory() as directory,
        Stand(lab) as stand,
        sink.running(lab.host("client").host, certificate, key) as peer,
        running(stand, services, AGENTS, **SETTINGS) as postfix,
    ):
        letter, _ = write_letters(Path(directory), stand)
        yield BenchQueue(stand, postfix, stand.group("senders"), letter, peer)


def measure(context: BenchContext) -> Sequence[BenchTable]:
    with queue(context.lab) as there:
        context.say(f"{len(PORTS)} roads, {ROUNDS} rounds of {MESSAGES} messages")
        for road in PORTS:
            there.send(road, WARM)
        loads = interleaved({road: partial(there.send, road, MESSAGES) for road in PORTS}, ROUNDS)
    return (
        BenchTable("Mail to one peer", RATES, rates(loads), NOTES),
        BenchTable("Where it goes: µs of CPU a message", COSTS, costs(loads), COSTS_NOTE),
    )


def rates(loads: Mapping[str, Sequence[SendingLoad]]) -> list[TableRow]:
    rate = {road: Measured.of(one.rate for one in many) for road, many in loads.items()}
    spent = {road: Measured.of(one.everything for one in many) for road, many in loads.items()}
    rows = []
    for road, many in loads.items():
        others = [other if road == HTTPS else None for other in (SMTP, REUSED)]
        ratios = [rate[road].over(rate[other]) if other else None for other in others]
        by_cpu = [spent[other].over(spent[road]) if other else None for other in others]
        rows.append(TableRow(road, (rate[road], *ratios, *by_cpu, median(one.connections for one in many))))
    return rows


def costs(loads: Mapping[str, Sequence[SendingLoad]]) -> list[TableRow]:
    rows = []
    for road, many in loads.items():
        everything = median(one.everything for one in many)
        parts = [
            median(one.postfix for one in many),
            *(median(one.parts[part] for one in many) for part in PARTS),
        ]
        peer = median(one.peer for one in many)
        rows.append(TableRow(road, (everything, *parts, everything - sum(parts), peer)))
    return rows
