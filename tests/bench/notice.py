"""From the moment that a user submits to the moment that an idling client is told: by each road.

Across two relays over HTTPS, across them over SMTP, and on one relay; messages one at a time, by turns. Every
client idles for longer than the second after which Dovecot hibernates it: only then it is told at once.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from tests import messages
from tests.bench.context import BenchContext
from tests.bench.gate import SMALL, sealed
from tests.bench.rounds import interleaved
from tests.bench.table import BenchTable, Column, Measured, TableRow
from tests.chat import relay, smtp
from tests.chat.imap import ImapMailbox, new_account
from tests.lab import LabError
from tests.lab.host import LabHost

PAIRS, ROUNDS = 40, 5
IDLE = 2.0  # seconds

SAME, HTTPS, SMTP = "on the same relay", "to another relay, HTTPS", "to another relay, SMTP"
# Where the reader is, and what the operator of _a.lab says of HTTPS to there.
ROADS: Mapping[str, tuple[str, str]] = {SAME: ("a", ""), HTTPS: ("b", "only"), SMTP: ("b", "never")}

COLUMNS = (
    Column("median ms", 0, spread=True),
    Column("p95 ms", 0, spread=True),
    Column("of the same relay", spread=True),
    Column("of SMTP", spread=True),
    Column("p95 of SMTP", spread=True),
)
NOTES = f"""\
From before MAIL FROM, in a session on port 465 that has logged in, to the EXISTS that an idling client reads;
4 KB messages, one at a time, {PAIRS} a round, {ROUNDS} rounds by turns; median and p95 of a round, and in
brackets those of the lowest and the highest. Every client had idled for {IDLE:g} s at least. By SMTP: HTTPS
forbidden for the peer (`route set --https never`), so the message goes to the relay, back to Postfix, and
by smtp(8)."""


@dataclass(frozen=True)
class WriterAndReader:
    """Who writes, on _a.lab, and who is told."""

    session: smtplib.SMTP
    writer: str
    reader: str
    mailbox: ImapMailbox
    told: list[float]  # seconds, when the client went into IDLE (monotonic)

    def send(self, armor: str) -> float:
        """Seconds from the submission to the notice; the client idles anew after it."""
        text = messages.encrypted(armor, sender=self.writer)
        self._idle_long_enough()
        began = time.monotonic()
        self.session.sendmail(self.writer, [self.reader], text)
        # Postfix answers before it delivers, so the notice can't come before it is waited for.
        try:
            self.mailbox.wait_exists()
        except TimeoutError:
            raise LabError(f"read the journal of _a.lab: a message to {self.reader} did not come") from None
        ended = time.monotonic()
        self.mailbox.end_idle()
        self.idle()
        return ended - began

    def idle(self) -> None:
        self.mailbox.begin_idle()
        self.told[:] = [time.monotonic()]

    def _idle_long_enough(self) -> None:
        left = self.told[0] + IDLE - time.monotonic()
        if left > 0 and not self.mailbox.stays_quiet(left):
            raise LabError(f"run it again: {self.reader} got mail that nobody sent")


def measure(context: BenchContext) -> Sequence[BenchTable]:
    a, b = context.lab.host("a"), context.lab.host("b")
    armor, _ = sealed(SMALL)
    with pairs(a, {"a": a, "b": b}) as there:
        context.say(f"{len(ROADS)} roads, {ROUNDS} rounds of {PAIRS} messages")
        cases = {
            road: partial(waits, a, b.domain, road, there[where], armor) for road, (where, _) in ROADS.items()
        }
        for case in cases.values():
            case()
        seen = interleaved(cases, ROUNDS)
    return (BenchTable("From submitting to the notice", COLUMNS, rows(seen), NOTES),)


def waits(a: LabHost, peer: str, road: str, there: Sequence[WriterAndReader], armor: str) -> list[float]:
    """Milliseconds that each of the clients waited, in order."""
    https = ROADS[road][1]
    if https:
        relay.operate(a, "route", "set", peer, "--https", https)
    try:
        return sorted(pair.send(armor) * 1e3 for pair in there)
    finally:
        if https:
            relay.operate(a, "route", "remove", peer)


@contextmanager
def pairs(a: LabHost, hosts: Mapping[str, LabHost]) -> Iterator[dict[str, list[WriterAndReader]]]:
    """Writers on `a`, and for each of them an idling reader on each host."""
    with ExitStack() as closing:
        there: dict[str, list[WriterAndReader]] = {name: [] for name in hosts}
        for _ in range(PAIRS):
            login = new_account(a)
            session = closing.enter_context(smtp.logged_in(a.ip, login))
            for name, host in hosts.items():
                reader = new_account(host)
                mailbox = closing.enter_context(ImapMailbox(host.ip, *reader))
                pair = WriterAndReader(session, login[0], reader[0], mailbox, [])
                pair.idle()
                there[name].append(pair)
        yield there


def rows(seen: Mapping[str, Sequence[Sequence[float]]]) -> list[TableRow]:
    medians = {road: Measured.of(one[len(one) // 2] for one in many) for road, many in seen.items()}
    p95s = {road: Measured.of(one[len(one) * 95 // 100] for one in many) for road, many in seen.items()}
    return [
        TableRow(
            road,
            (
                medians[road],
                p95s[road],
                None if road == SAME else medians[road].over(medians[SAME]),
                medians[road].over(medians[SMTP]) if road == HTTPS else None,
                p95s[road].over(p95s[SMTP]) if road == HTTPS else None,
            ),
        )
        for road in seen
    ]
