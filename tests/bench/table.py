"""What a bench returns, as values: tables of rows, whose cells keep every round's figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One quantity, once per round."""

    rounds: tuple[float, ...]

    @classmethod
    def of(cls, rounds: Iterable[float]) -> Measured:
        return cls(tuple(rounds))

    @property
    def median(self) -> float:
        return median(self.rounds)

    def over(self, other: Measured) -> Measured:
        """The ratio, round by round: what disturbed a round disturbed both."""
        return Measured.of(ours / theirs for ours, theirs in zip(self.rounds, other.rounds, strict=True))


Cell = Measured | float | str | None


@dataclass(frozen=True)
class Column:
    """`digits` after the point; the unit is in the title. `spread`: show lowest and highest round too."""

    title: str
    digits: int = 2
    spread: bool = False

    def text(self, cell: Cell) -> str:
        if cell is None:
            return ""
        if isinstance(cell, str):
            return cell
        if isinstance(cell, float | int):
            return f"{cell:.{self.digits}f}"
        middle = f"{cell.median:.{self.digits}f}"
        if not self.spread:
            return middle
        return f"{middle} ({min(cell.rounds):.{self.digits}f}-{max(cell.rounds):.{self.digits}f})"


@dataclass(frozen=True)
class TableRow:
    """A name and a cell for each column."""

    name: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class BenchTable:
    """`notes` say what was measured, and how to read it."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[TableRow]
    notes: str = ""

    def as_json(self) -> dict[str, Any]:
        """For `--json`: every cell under its column's title, medians with their rounds."""
        titles = [column.title for column in self.columns]
        rows = [
            {"name": row.name, **{title: plain(cell) for title, cell in zip(titles, row.cells, strict=True)}}
            for row in self.rows
        ]
        return {"title": self.title, "rows": rows, "notes": self.notes}


def plain(cell: Cell) -> Any:
    if isinstance(cell, Measured):
        return {"median": cell.median, "rounds": list(cell.rounds)}
    return cell


RATIOS = (
    Column("ratio", 2, spread=True),
    Column("asked for"),
    Column("ours", 1),
    Column("the other", 1),
    Column("unit"),
)


def ratio(name: str, ours: Measured, other: Measured, claim: str, unit: str) -> TableRow:
    """A row of a table with `RATIOS` for columns: `ours` over `other`, both in `unit`."""
    return TableRow(name, (ours.over(other), claim, ours, other, unit))


def figure(name: str, ours: Measured | float, claim: str, unit: str) -> TableRow:
    """A row of such a table for what is compared with nothing but a promise."""
    return TableRow(name, (None, claim, ours, None, unit))
