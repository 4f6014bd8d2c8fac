"""`python -m tests.bench.compare`: which figures of two commits stand side by side."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.compare import compared, figures, in_both
from tests.bench.table import BenchTable, Column, Measured, TableRow


def printed(rate: float, name: str = "ours") -> dict[str, list[dict[str, object]]]:
    """What `--json` prints of a bench with one table."""
    columns = (Column("messages/s"), Column("claim"), Column("of none"))
    table = BenchTable("Mail", columns, [TableRow(name, (Measured.of((1.0, rate, 1000.0)), "≥ 1", None))])
    seen: dict[str, list[dict[str, object]]] = json.loads(json.dumps({"postfix": [table.as_json()]}))
    return seen


def test_medians_are_figures_and_words_are_not() -> None:
    assert dict(figures(printed(40.0))) == {("postfix", "Mail", "ours", "messages/s"): 40.0}


def test_ratio_is_taken_round_by_round() -> None:
    ours = [dict(figures(printed(rate))) for rate in (40.0, 90.0)]
    theirs = [dict(figures(printed(rate))) for rate in (80.0, 60.0)]
    (table,) = compared(ours, theirs)
    assert table.title == "postfix: Mail"
    (row,) = table.rows
    assert row.name == "ours"
    assert row.cells == (
        "messages/s",
        Measured((40.0, 90.0)),
        Measured((80.0, 60.0)),
        Measured((0.5, 1.5)),
    )


def test_figure_of_one_side_alone_is_left_out() -> None:
    assert compared([dict(figures(printed(40.0)))], [dict(figures(printed(40.0, name="other")))]) == []


def test_a_bench_that_the_base_lacks_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "tests/bench").mkdir(parents=True)
    (tmp_path / "tests/bench/gate.py").touch()
    assert in_both(["throughput", "gate"], tmp_path) == ["gate"]
    assert in_both(["throughput"], tmp_path) == []
