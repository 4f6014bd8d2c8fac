"""What ten thousand messages cost our two programs that carry mail between relays: CPU time, and memory.

The relay sends them to one peer, as in `sending`; the app takes them from twenty, as in `receiving`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.bench import receiving, sending
from tests.bench.context import BenchContext
from tests.bench.mail import units
from tests.bench.mail.load import SENDERS, WARM
from tests.bench.mail.units import Units
from tests.bench.table import BenchTable, Column, TableRow

MESSAGES = 10_000

COLUMNS = (
    Column("CPU s", 1),
    Column("µs a message", 0),
    Column("messages/s", 0),
    Column("MiB before", 1),
    Column("MiB at most", 1),
    Column("MiB after", 1),
    Column("processes", 0),
)
NOTES = f"""\
{MESSAGES} messages of 4 KB each. mxdeliv-relay: a full queue to one peer, 48 at once. mxdeliv-app: from
{SENDERS} peers with one connection each. Memory is what all processes of the unit have resident; what they
share is counted for each of them."""


def measure(context: BenchContext) -> Sequence[BenchTable]:
    with sending.queue(context.lab) as queue:
        context.say(f"the relay sends {MESSAGES} messages")
        queue.send(sending.HTTPS, WARM)
        relay = measured(units.RELAY, queue.units, lambda: queue.send(sending.HTTPS, MESSAGES).rate)
    with receiving.peers(context.lab) as peers:
        context.say(f"the app takes {MESSAGES} messages")
        peers.send(receiving.HTTPS, WARM)
        app = measured(units.APP, peers.units, lambda: peers.send(receiving.HTTPS, MESSAGES).rate)
    return (BenchTable("Ten thousand messages", COLUMNS, (relay, app), NOTES),)


def measured(name: str, services: Units, load: Callable[[], float]) -> TableRow:
    """A row: what a unit spends on `load`, which says the messages a second."""
    services.forget_peak(name)
    before, spent = services.memory(name), services.cpu()
    rate = load()
    seconds, after = services.since(spent)[name], services.memory(name)
    cells = (seconds, seconds / MESSAGES * 1e6, rate, before.now, after.peak, after.now)
    return TableRow(name, (*cells, services.processes(name)))
