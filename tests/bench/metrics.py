"""What the metrics cost: counting messages for them, and one collection (`chatmailctl metrics`)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from unittest.mock import patch

from sqlalchemy import Engine

from chatmail_milter.store import counters
from chatmail_milter.store.contacts import Contact, CountedEvent
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers
from tests.bench.context import BenchContext
from tests.bench.rounds import interleaved, timed
from tests.bench.start import CHATMAILCTL, cpu
from tests.bench.table import BenchTable, Column, Measured, TableRow

ROUNDS = 15
# What the relay reads of the journal at once on a busy host, and on an idle one.
BATCHES = (100, 1)
PEERS, DAYS = 100, 90
COLUMNS = (Column("with", 1, spread=True), Column("without", 1, spread=True), Column("ratio", 2, spread=True))
NOTES = f"""\
µs of CPU a message, in the relay's thread that reads the journal: a transaction with so many messages from
{PEERS} peers, and without the rows of the counters; SQLite, {ROUNDS} rounds by turns."""
COLLECTION_NOTES = f"""\
ms of CPU of the whole process, with a store of {DAYS} days, beside `chatmailctl peers`. With metrics on there
is one a minute."""


def measure(context: BenchContext) -> Sequence[BenchTable]:
    context.say(f"{ROUNDS} rounds of two transactions and two processes")
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "store.sqlite"
        store.touch()
        engine = open_store(f"sqlite:///{store}")
        fill(engine)
        rows = []
        for size in BATCHES:
            batch = messages(size)
            cases = {
                "with": partial(count, engine, *batch),
                "without": partial(count_without, engine, *batch),
            }
            for case in cases.values():
                case()
            found = timed(cases, ROUNDS, 1e6 / size)
            ratio = found["with"].over(found["without"])
            rows.append(TableRow(f"counting {size} at once", (found["with"], found["without"], ratio)))
        engine.dispose()
        config = Path(directory) / "chatmail.toml"
        config.write_text(f'[mail]\ndomain = "a.test"\n[store]\nurl = "sqlite:///{store}"\n')
        environment = os.environ | {"CHATMAIL_CONFIG": str(config)}
        runs = {name: partial(cpu, [CHATMAILCTL, name], environment) for name in ("metrics", "peers")}
        for run in runs.values():
            run()
        times = {name: Measured.of(seen) for name, seen in interleaved(runs, ROUNDS).items()}
    cells = (times["metrics"], times["peers"], times["metrics"].over(times["peers"]))
    columns = (Column("metrics", spread=True), Column("peers", spread=True), COLUMNS[2])
    return (
        BenchTable("Counting a message", COLUMNS, rows, NOTES),
        BenchTable("Collecting the metrics", columns, [TableRow("one collection", cells)], COLLECTION_NOTES),
    )


def fill(engine: Engine) -> None:
    """90 days of hourly rows."""
    now = datetime.now(UTC)
    hours = [messages(10, now - timedelta(hours=hour)) for hour in range(DAYS * 24)]
    contacts = [one for hour, _ in hours for one in hour]
    Peers(engine).add(contacts, [one for _, hour in hours for one in hour])


def messages(number: int, at: datetime | None = None) -> tuple[list[Contact], list[CountedEvent]]:
    """Messages by all ways, some of which fail."""
    now = at or datetime.now(UTC)
    contacts, events = [], []
    for one in range(number):
        domain, ok = f"{one % PEERS}.test", one % 10 != 0
        contacts += [
            Contact(
                domain, "inbound", ok, 0.01 * (one + 1) if ok else None, None if ok else "dkim-none", now
            ),
            Contact("", "submission", True, None, None, now),
        ]
        events += [
            CountedEvent("judged-smtp", "pass encrypted" if ok else "reject dkim-none", 0.004),
            CountedEvent("judged-submit", "pass encrypted", 0.0005),
            CountedEvent("mxdeliv", "200"),
        ]
    return contacts, events


def count(engine: Engine, contacts: list[Contact], events: list[CountedEvent]) -> None:
    Peers(engine).add(contacts, events)


def count_without(engine: Engine, contacts: list[Contact], _events: list[CountedEvent]) -> None:
    with patch.object(counters, "write"):
        Peers(engine).add(contacts)
