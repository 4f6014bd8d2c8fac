"""The table at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.faults.arrangement import HURRY
from tests.faults.trial import FaultRow

LEGEND = f"""\
sent: taken from their senders. unknown: the sender's answer was cut off, so there once or not at all.
waiting: in both queues together when the cause was about to go. twice: copies more than one in mailboxes.
cut off: hand-overs without an answer, each of which may put a message there twice; the journals tell of them
(P: of Postfix, H: by HTTPS, O: of our programs to Postfix, or a connection that was kept).
empty: seconds from the end of the cause to empty queues, what was still to be submitted then included.
Postfix tries again by itself, sooner than by default: {", ".join(" ".join(one) for one in HURRY.items())}.
All of it happens to one of the two relays, which both send and receive half of the messages."""

_RIGHT = ("sent", "un-\nknown", "deli-\nvered", "boun-\nced", "wait-\ning", "twice", "cut off", "empty", "s")


def line(row: FaultRow) -> str:
    """One row in words, as it comes."""
    emptied = "never" if row.emptied is None else f"{row.emptied:.0f} s later"
    words = (
        f"{row.sent} sent, {row.unknown} unknown, {row.delivered} delivered, {row.bounced} bounced, "
        f"{row.waiting} waiting, {row.duplicates} twice of {sum(row.bound.values())} cut off, empty {emptied}"
    )
    return f"{row.name}: {words}{''.join(f'; BROKEN: {one}' for one in row.breaches)}"


def show(console: Console, rows: Sequence[FaultRow]) -> None:
    """Print what happened, cause by cause."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", width=1)
    table.add_column("cause", no_wrap=True)
    for name in _RIGHT:
        table.add_column(name, justify="right")
    for row in rows:
        mark = "[red]✗" if row.breaches else "[green]✓"
        emptied = "never" if row.emptied is None else f"{row.emptied:.0f}"
        numbers = (row.sent, row.unknown, row.delivered, row.bounced, row.waiting, row.duplicates)
        table.add_row(mark, row.name, *map(str, numbers), _bound(row), emptied, f"{row.seconds:.0f}")
    console.print(table)
    console.print(LEGEND, highlight=False)
    for row in rows:
        for breach in row.breaches:
            console.print(f"[red]✗[/] {row.name}: {escape(breach)}", highlight=False)


def _bound(row: FaultRow) -> str:
    return " ".join(f"{who[0].upper()}{count}" for who, count in sorted(row.bound.items())) or "0"
