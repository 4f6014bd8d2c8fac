"""What `/mxdeliv` takes, nginx to disk, beside what the same Postfix takes on port 25 of the same messages.

The relay _b.lab as the playbook made it, its own doors with all their checks and limits, connections kept on
every side. Only what comes after the answer is left out: Postfix throws the messages away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests import messages
from tests.bench.context import BenchContext
from tests.bench.gate import SMALL, sealed
from tests.bench.mail import units
from tests.bench.mail.group import ControlGroup, host_cpu
from tests.bench.mail.load import SENDERS, WARM, sent
from tests.bench.mail.queue import drained, without_delivery
from tests.bench.mail.sessions import Place
from tests.bench.mail.units import Units
from tests.bench.rounds import interleaved
from tests.bench.table import BenchTable, Column, Measured, TableRow
from tests.chat import signature
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.lab import Lab
from tests.lab.host import LabHost

MESSAGES, ROUNDS = 1000, 5
SIGNER = "peer.lab"  # a domain of the lab, whose DKIM key is in its DNS

SMTP, STARTTLS, HTTPS = "SMTP, port 25", "SMTP with STARTTLS", "HTTPS, /mxdeliv"
DOORS: Mapping[str, tuple[str, int]] = {SMTP: ("smtp", 25), STARTTLS: ("starttls", 25), HTTPS: ("https", 443)}

# Who has a part in it, beside the senders: a column each.
PARTS = {
    "nginx": (units.NGINX,),
    "app": (units.APP,),
    "Postfix": (units.POSTFIX,),
    "OpenDKIM": (units.OPENDKIM,),
    "our milter": (units.MILTER,),
    "mailbox asked": (units.RECIPIENTS, units.DOVECOT, units.HOOKS),
    "journal": (units.JOURNAL,),
}

RATES = (
    Column("messages/s", 0),
    Column("of SMTP", spread=True),
    Column("of STARTTLS", spread=True),
    Column("by CPU", spread=True),
    Column("median ms", 0),
    Column("p95 ms", 0),
)
COSTS = (
    Column("all", 0),
    *(Column(part, 0) for part in PARTS),
    Column("the rest", 0),
    Column("senders", 0),
    Column("idle %", 0),
)

NOTES = f"""\
{SENDERS} peers, a connection each, {MESSAGES} signed messages of 4 KB a round, {ROUNDS} rounds by turns; in
brackets the lowest and the highest round. Asked for: HTTPS at least 0.7 of SMTP. The same checks on all: the
mailbox asked for at RCPT, DKIM verified, our milter; the message written to the queue, with fsync, and
then discarded. By CPU: all that the relay spent a message, of SMTP without TLS."""
COSTS_NOTE = """\
Mailbox asked: chatmail-recipients, Dovecot's quota-status, and our hooks that it asks. The rest: unbound,
systemd and others on the relay. Senders: the peers' side. Idle: of the machine's processors, disk waits
included."""


@dataclass(frozen=True)
class ReceivingLoad:
    """A round. CPU in microseconds a message, by the columns of `COSTS`; the rest as `mail.load` has it."""

    rate: float
    median: float
    p95: float
    parts: Mapping[str, float]
    everything: float
    senders: float
    idle: float


class SendingPeers:
    """Those who send to a relay."""

    def __init__(self, host: LabHost, senders: ControlGroup, letter: Path, reader: str) -> None:
        self._host = host
        self._senders = senders
        self._letter = letter
        self._reader = reader
        self.units = Units(host, [name for names in PARTS.values() for name in names])

    def send(self, door: str, count: int) -> ReceivingLoad:
        """So many messages by one of `DOORS`; the queue is empty before and after."""
        kind, port = DOORS[door]
        before, all_before = self.units.cpu(), host_cpu(self._host)
        place = Place(kind, self._host.ip, port)
        seen = sent(self._senders, place, self._letter, count, "--kept", "--recipient", self._reader)
        drained(self._host)
        spent, everything = self.units.since(before), host_cpu(self._host) - all_before
        each = 1e6 / count
        return ReceivingLoad(
            rate=seen["messages"] / seen["seconds"],
            median=seen["median"],
            p95=seen["p95"],
            parts={part: sum(spent[name] for name in names) * each for part, names in PARTS.items()},
            everything=(everything - seen["started_cpu"] - seen["cpu"]) * each,
            senders=seen["cpu"] * each,
            idle=seen["idle"],
        )


@contextmanager
def peers(lab: Lab) -> Iterator[SendingPeers]:
    """Peers of _b.lab, which delivers nothing meanwhile."""
    host = lab.host("b")
    reader = fresh_address(host.domain)
    with ImapMailbox(host.ip, reader, fresh_password()):
        pass  # the first login makes the account
    with (
        TemporaryDirectory() as directory,
        ControlGroup(host, "senders") as senders,
        without_delivery(host),
    ):
        letter = Path(directory) / "signed.eml"
        armor, _ = sealed(SMALL)
        text = messages.encrypted(armor, sender=f"alice@{SIGNER}")
        letter.write_bytes(signature.sign(text, SIGNER, lab.paths))
        yield SendingPeers(host, senders, letter, reader)


def measure(context: BenchContext) -> Sequence[BenchTable]:
    with peers(context.lab) as there:
        context.say(f"{len(DOORS)} doors, {ROUNDS} rounds of {MESSAGES} messages")
        for door in DOORS:
            there.send(door, WARM)
        loads = interleaved({door: partial(there.send, door, MESSAGES) for door in DOORS}, ROUNDS)
    return (
        BenchTable("Mail from peers, to disk", RATES, rates(loads), NOTES),
        BenchTable("Where it goes: µs of CPU a message", COSTS, costs(loads), COSTS_NOTE),
    )


def rates(loads: Mapping[str, Sequence[ReceivingLoad]]) -> list[TableRow]:
    rate = {door: Measured.of(one.rate for one in many) for door, many in loads.items()}
    spent = {door: Measured.of(one.everything for one in many) for door, many in loads.items()}
    rows = []
    for door, many in loads.items():
        ratios = (
            None if door == SMTP else rate[door].over(rate[SMTP]),
            rate[door].over(rate[STARTTLS]) if door == HTTPS else None,
            None if door == SMTP else spent[SMTP].over(spent[door]),
        )
        waits = (median(one.median for one in many) * 1e3, median(one.p95 for one in many) * 1e3)
        rows.append(TableRow(door, (rate[door], *ratios, *waits)))
    return rows


def costs(loads: Mapping[str, Sequence[ReceivingLoad]]) -> list[TableRow]:
    rows = []
    for door, many in loads.items():
        everything = median(one.everything for one in many)
        parts = [median(one.parts[part] for one in many) for part in PARTS]
        senders, idle = (median(one.senders for one in many), median(one.idle for one in many) * 100)
        rows.append(TableRow(door, (everything, *parts, everything - sum(parts), senders, idle)))
    return rows
