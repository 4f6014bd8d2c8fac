"""The table at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.attacks.probes import DEADLINE, PROBES
from tests.attacks.trial import NORMAL_SECONDS, AttackRow

LEGEND = f"""\
For each probe: how many were made during the attack, and the seconds of the slowest; or how many failed. A
probe has {DEADLINE:g} s. normal: seconds after the attack until every probe went well, no unit had failed and
the relay's files were no larger than before; at most {NORMAL_SECONDS:g}."""


def line(row: AttackRow) -> str:
    """One row in words, as it comes."""
    words = ", ".join(f"{name} {cell(row, name)}" for name in PROBES)
    return f"{row.name} ({row.attacker}): {words}{''.join(f'; BROKEN: {one}' for one in row.breaches)}"


def cell(row: AttackRow, probe: str) -> str:
    """What became of one kind of probe."""
    if probe not in row.probed:
        return "none"
    seen = row.probed[probe]
    if seen.failed:
        return f"{seen.failed} of {seen.number} failed"
    return f"{seen.number}, {seen.slowest:.2f} s"


def show(console: Console, rows: Sequence[AttackRow]) -> None:
    """Print what happened, attack by attack."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", width=1)
    table.add_column("attack")
    table.add_column("the attacker got")
    for name in PROBES:
        table.add_column(name)
    table.add_column("normal", justify="right")
    table.add_column("s", justify="right")
    for row in rows:
        mark = "[red]✗" if row.breaches else "[green]✓"
        normal = "never" if row.normal is None else f"{row.normal:.0f}"
        cells = [_coloured(row, name) for name in PROBES]
        table.add_row(mark, row.name, row.attacker, *cells, normal, f"{row.seconds:.0f}")
    console.print(table)
    console.print(LEGEND, highlight=False)
    for row in rows:
        for breach in row.breaches:
            console.print(f"[red]✗[/] {row.name}: {escape(breach)}", highlight=False)


def _coloured(row: AttackRow, probe: str) -> str:
    text = cell(row, probe)
    return f"[red]{text}[/]" if probe in row.probed and row.probed[probe].failed else text
