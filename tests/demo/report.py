"""The table at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.chat.hops import Trace
from tests.demo.outcome import StoryOutcome

# The six hops, and what each is measured between; printed under the table.
LEGEND = """\
Times in milliseconds, from the journals of both hosts and the clients' events (one clock).
submit: told to send → in the sender's queue (the client encrypts, connects, submits; milter and DKIM)
queue: → handed to the relay daemon     wire: → in the receiver's queue (HTTPS, or SMTP by MX)
queue there: → handed to Dovecot        Maildir: → saved        IDLE: → told, fetched, decrypted, shown"""


def show(console: Console, outcomes: Sequence[StoryOutcome]) -> None:
    """Print what happened, story by story."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", width=1)
    table.add_column("story", ratio=3)
    table.add_column("road")
    for name in ("submit", "queue", "wire", "queue\nthere", "Mail-\ndir", "IDLE", "total"):
        table.add_column(name, justify="right")
    table.add_column("seen", ratio=4)
    for one in outcomes:
        mark = "[red]✗" if one.failure else "[green]✓"
        words = escape(one.failure or one.seen.words)
        table.add_row(mark, one.title, one.seen.road, *_milliseconds(one.seen.trace), words)
    console.print(table)
    console.print(LEGEND, highlight=False)


def _milliseconds(trace: Trace | None) -> list[str]:
    if trace is None:
        return [""] * 7
    return [f"{seconds * 1000:.0f}" for seconds in (*trace.hops, trace.total)]
