"""cmping, with real Delta Chat cores at both ends: from the order to send to the text in the other core.

On one relay, across two, and on the same Postfix and Dovecot without us. That reference only takes a message
and hands it over, so its time is mostly the cores' own share: to encrypt, send, fetch, decrypt, show.
https://pypi.org/project/cmping/
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.context import BenchContext
from tests.bench.mail import reference
from tests.bench.rounds import interleaved
from tests.bench.table import BenchTable, Column, Measured, TableRow
from tests.lab.errors import LabError
from tests.lab.host import LabHost

RUNS, PINGS = 3, int(os.environ.get("PINGS", "20"))
INTERVAL = 1.1  # seconds, cmping's own; a user may send one a second
SETUP = 180.0  # seconds to make both accounts and to be told of the last message

SAME, ACROSS, STACK = "one relay", "across", "reference"
ASKED = {SAME: "85", ACROSS: "95"}

# cmping logs in at the standard ports of an address. This one is the reference's.
ADDRESS = "127.0.0.2"
_REDIRECT = "cmping"  # a table of nftables
_RULES = f"""\
table ip {_REDIRECT} {{
  chain output {{
    type nat hook output priority -100;
    ip daddr {ADDRESS} tcp dport 465 dnat to 127.0.0.1:{reference.SUBMISSIONS}
    ip daddr {ADDRESS} tcp dport 993 dnat to 127.0.0.1:{reference.IMAPS}
  }}
}}
"""
_AVERAGE = re.compile(r"^rtt min/avg/max/mdev = [0-9.]+/([0-9.]+)/[0-9.]+/[0-9.]+ ms$", re.MULTILINE)
_EACH = re.compile(r" seq=[0-9]+ time=([0-9.]+)ms")

COLUMNS = (
    Column("average ms", 1, spread=True),
    Column("asked for"),
    Column("more than the reference, ms", 1, spread=True),
    Column("median ms", 1),
    Column("quickest ms", 1),
)
NOTES = f"""\
{RUNS} runs of {PINGS} messages by turns, {INTERVAL} s apart, new accounts in each run; of the averages the
median, in brackets the lowest and the highest run; median and quickest are of all messages. The reference is
the same Postfix and Dovecot, which only take a message and hand it over; its clients run on the relay's
loopback."""


@dataclass(frozen=True)
class Pings:
    """What a run of cmping says, in milliseconds: the average, and each."""

    average: float
    each: tuple[float, ...]


def measure(context: BenchContext) -> Sequence[BenchTable]:
    a, b, client = context.lab.host("a"), context.lab.host("b"), context.lab.host("client")
    context.say(f"{RUNS} runs of {PINGS} messages, three roads")
    with reference.running(a, None, (f"[{ADDRESS}]",)), redirected(a):
        found = interleaved(
            {
                SAME: partial(cmping, client, a.domain),
                ACROSS: partial(cmping, client, a.domain, b.domain),
                STACK: partial(cmping, a, ADDRESS),
            },
            RUNS,
        )
    return (BenchTable("cmping, Delta Chat to Delta Chat", COLUMNS, rows(found), NOTES),)


@contextmanager
def redirected(host: LabHost) -> Iterator[None]:
    """While the context lasts the reference has `ADDRESS` to itself, inside the host."""
    host.run(["nft", "-f", "-"], input=_RULES)
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "ip", _REDIRECT])


def cmping(host: LabHost, *relays: str) -> Pings:
    """A run in a host's network, with accounts of its own."""
    words = ["ip", "netns", "exec", host.netns, sys.executable, "-m", "cmping"]
    words += ["-c", str(PINGS), "-i", str(INTERVAL), *relays]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # has the cores' program
    with TemporaryDirectory() as directory:
        try:
            done = subprocess.run(
                words,
                env=os.environ | {"XDG_CACHE_HOME": directory, "PATH": path},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SETUP + PINGS * INTERVAL,
            )
        except subprocess.TimeoutExpired as late:
            raise LabError(f"see why cmping {' '.join(relays)} does not end: {_end(late.stdout)}") from None
    if done.returncode:
        raise LabError(f"see what cmping {' '.join(relays)} lost: {_end(done.stdout)} {_end(done.stderr)}")
    return times(done.stdout)


def times(said: str) -> Pings:
    """The times that cmping printed."""
    average, each = _AVERAGE.search(said), _EACH.findall(said)
    if average is None or not each:
        raise LabError(f"see what this version of cmping prints: {_end(said)}")
    return Pings(float(average[1]), tuple(map(float, each)))


def rows(found: Mapping[str, Sequence[Pings]]) -> list[TableRow]:
    average = {name: Measured.of(one.average for one in runs) for name, runs in found.items()}
    return [
        TableRow(
            name,
            (
                average[name],
                ASKED.get(name),
                None if name == STACK else more(average[name], average[STACK]),
                median(every := [time for one in runs for time in one.each]),
                min(every),
            ),
        )
        for name, runs in found.items()
    ]


def more(ours: Measured, other: Measured) -> Measured:
    """The difference, round by round."""
    return Measured.of(one - two for one, two in zip(ours.rounds, other.rounds, strict=True))


def _end(said: str | bytes | None) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said or ""
    return text.strip()[-300:]
