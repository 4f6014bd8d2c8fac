"""The tables, printed."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from tests.bench.table import BenchTable


def show(console: Console, table: BenchTable) -> None:
    grid = Grid(
        title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    grid.add_column("", no_wrap=True)
    for column in table.columns:
        grid.add_column(column.title, justify="right", no_wrap=True)
    for row in table.rows:
        texts = (column.text(cell) for column, cell in zip(table.columns, row.cells, strict=True))
        grid.add_row(row.name, *texts)
    console.print(grid)
    if table.notes:
        console.print(table.notes, style="dim", soft_wrap=True)
        console.print()
