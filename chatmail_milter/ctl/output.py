"""Output of all commands: a rich table for people, or with `--json` the same rows for programs."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatmail_milter.store.sanitize import printable

Function = TypeVar("Function", bound=Callable[..., Any])

_WIDE = 240  # columns, where there is no terminal: a pipe must not get wrapped cells


def json_option(function: Function) -> Function:
    """The option `--json`, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(function)


def print_json(value: Any) -> None:
    """`value` as JSON; times are written in ISO 8601."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str, *, whole: Sequence[str] = ()
) -> None:
    """Prints a table, or `empty` if there are no rows. Cells of columns in `whole` are not wrapped.

    No cell is truncated; long ones are wrapped. Cells are plain text without markup, and control characters
    are replaced, because strangers wrote some of them.
    """
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def size(octets: int) -> str:
    """`1234 B`, from 10 kB on in the largest decimal unit that fits, with three digits: `2.47 MB`."""
    if octets < 10_000:
        return f"{octets} B"
    unit, length = next((u, n) for u, n in _SIZES if octets >= n)
    return f"{octets / length:.3g} {unit}" if octets / length < 999.5 else f"{octets / length:.0f} {unit}"


def percent(part: int, whole: int) -> str:
    """`97.3 %`; `-` if the total is 0. Rounded down, so that only the whole is 100 %."""
    return "-" if not whole else f"{part * 1000 // whole / 10:g} %"


def confirm(question: str) -> None:
    """Asks for confirmation. Without a terminal, an error that names --yes. Raises `click.Abort` at a no."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"add --yes to confirm: {question}")
    click.confirm(question, abort=True)


def earlier_name(group: click.Group, name: str, command: click.Command) -> None:
    """Registers `command` also under its former name: hidden, and with a warning."""
    alias = copy.copy(command)
    alias.name, alias.hidden, alias.deprecated = name, True, True
    group.add_command(alias)


def ago(then: datetime | None, now: datetime | None = None) -> str:
    """A past time as `5 min ago`, a future one as `in 5 min`, in the largest unit that fits."""
    if then is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    size = abs(seconds)
    unit, length = next((u, n) for u, n in _UNITS if size >= n or n == 1)
    return f"{int(size / length)} {unit} ago" if seconds >= 0 else f"in {int(size / length)} {unit}"


def after(passed: timedelta) -> str:
    """Time since a first step: `+0.012 s`, `+1:02:03`."""
    seconds = passed.total_seconds()
    return f"+{seconds:.3f} s" if seconds < 60 else f"+{timedelta(seconds=int(seconds))}"


def milliseconds(seconds: float | None) -> str:
    """`12 ms`; under ten with a decimal."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"


def counts(numbers: Mapping[str, int]) -> str:
    """`connect 3, timeout 1`."""
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


_SIZES = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value))


def qr_option(function: Function) -> Function:
    """The option `--qr`, as the argument `qr`."""
    return click.option("--qr", is_flag=True, help="Show the link as a QR code too, on stderr.")(function)


def print_qr(link: str) -> None:
    """The code, on stderr: what is on stdout stays text, or JSON."""
    # Imported here: the admin pages, which print none, would load it too.
    import segno

    segno.make_qr(link).terminal(out=sys.stderr, compact=True)
