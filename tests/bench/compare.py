"""`python -m tests.bench.compare BASE BENCH…`: the same benches on this tree and on another commit, by turns.

Each side is measured by its own code, with its own environment and, for benches that need the lab, its own
deployment. A round is one run of each side; the side that begins changes from round to round, so what
disturbs the machine disturbs both. What only one side has, a bench or a figure, is left out. Judges nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.bench import report
from tests.bench.table import BenchTable, Column, Measured, TableRow

HERE = Path(__file__).resolve().parents[2]
ROUNDS = 2
COLUMNS = (
    Column("figure"),
    Column("this tree", 2, spread=True),
    Column("base", 2, spread=True),
    Column("ratio", 2, spread=True),
)

# Bench, title of its table, name of the row, title of the column.
Key = tuple[str, str, str, str]


def checked_out(base: str) -> Path:
    """The files of commit `base` with an environment and wheels of their own, made once for each commit."""
    commit = _git("rev-parse", "--verify", f"{base}^{{commit}}").decode().strip()
    directory = HERE / "build" / "compare" / commit
    if not directory.is_dir():
        partial = directory.with_suffix(".partial")
        subprocess.run(["rm", "-rf", str(partial)], check=True)
        partial.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", str(partial)], input=_git("archive", commit), check=True)
        partial.rename(directory)
    # What the playbook takes along; before there was the package, it was the wheels.
    makes_packages = re.search(r"^deb:", (directory / "Makefile").read_text("utf-8"), re.MULTILINE)
    target = "deb" if makes_packages else "dist"
    subprocess.run(["make", "-C", str(directory), target], check=True, stdout=sys.stderr)
    return directory


def in_both(benches: Sequence[str], base: Path) -> list[str]:
    """Those of `benches` that the files of `base` have, too; says which are left out."""
    here = [name for name in benches if (base / "tests/bench" / f"{name}.py").exists()]
    for name in benches:
        if name not in here:
            print(f"== left out, for the base has no such bench: {name}", file=sys.stderr)
    return here


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(HERE), *arguments], check=True, stdout=subprocess.PIPE).stdout


def run(tree: Path, benches: Sequence[str]) -> dict[Key, float]:
    """One run of `benches` in `tree`: the median of each figure."""
    command = [str(tree / ".venv/bin/python"), "-m", "tests.bench", "--json", *benches]
    printed = subprocess.run(command, cwd=tree, check=True, stdout=subprocess.PIPE).stdout
    return dict(figures(json.loads(printed)))


def figures(seen: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[Key, float]]:
    """What `python -m tests.bench --json` printed, figure by figure; words and empty cells are left out."""
    for bench, tables in seen.items():
        for table in tables:
            for row in table["rows"]:
                for column, cell in row.items():
                    value = cell["median"] if isinstance(cell, dict) else cell
                    if isinstance(value, int | float):
                        yield (bench, table["title"], row["name"], column), float(value)


def compared(ours: Sequence[Mapping[Key, float]], theirs: Sequence[Mapping[Key, float]]) -> list[BenchTable]:
    """A table for each table of the benches: what both sides measured in every round."""
    shared = [key for key in ours[0] if all(key in one for one in (*ours, *theirs))]
    tables: dict[tuple[str, str], list[TableRow]] = {}
    for key in shared:
        bench, title, name, column = key
        here = Measured.of(one[key] for one in ours)
        there = Measured.of(one[key] for one in theirs)
        ratio = here.over(there) if all(there.rounds) else None
        tables.setdefault((bench, title), []).append(TableRow(name, (column, here, there, ratio)))
    return [BenchTable(f"{bench}: {title}", COLUMNS, rows) for (bench, title), rows in tables.items()]


def main() -> int:
    """Compare; the exit status, 0 whatever the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.compare", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each side; {ROUNDS} by default")
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("bench", nargs="+", help="as `make bench` names them")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds wants 1 or more")
    try:
        base = checked_out(arguments.base)
        benches = in_both(arguments.bench, base)
        if not benches:
            print(f"name another base: {arguments.base} has none of these benches", file=sys.stderr)
            return 1
        sides: dict[Path, list[dict[Key, float]]] = {HERE: [], base: []}
        for number in range(arguments.rounds):
            for tree in (HERE, base) if number % 2 == 0 else (base, HERE):
                print(f"== round {number + 1} of {arguments.rounds}: {tree}", file=sys.stderr)
                sides[tree].append(run(tree, benches))
    except subprocess.CalledProcessError as error:
        print(f"look above: {error.cmd[0]} failed ({error.returncode})", file=sys.stderr)
        return 1
    tables = compared(sides[HERE], sides[base])
    if arguments.json:
        print(json.dumps([table.as_json() for table in tables], indent=2))
    else:
        for table in tables:
            report.show(Console(highlight=False, width=None if sys.stdout.isatty() else 160), table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
