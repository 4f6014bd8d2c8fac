"""The shared table survives any octets that another process writes to its file."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from chatmail_milter.processes.ratelimit import Limiter, Rate
from chatmail_milter.processes.shared_table import SharedTable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "table").touch()
    return tmp_path / "table"


def opened(path: Path, layout: str = "one", slots: int = 64) -> tuple[SharedTable, Limiter]:
    table = SharedTable(path, layout, slots * 16)
    return table, Limiter(Rate(60, 10), slots, table.lock, table, table.mark)


def taken(limiter: Limiter, tries: int) -> int:
    return sum(limiter.take("a", 1000.0) for _ in range(tries))


def test_two_programs_count_together(path: Path) -> None:
    (_, ours), (_, theirs) = opened(path), opened(path)
    assert (taken(ours, 7), taken(theirs, 7)) == (7, 3)


@pytest.mark.parametrize("octets", [0, 1, 63, 64, 65, 200])
def test_a_file_that_is_truncated_is_counted_in_anew_by_all(path: Path, octets: int) -> None:
    (one, ours), (other, theirs) = opened(path), opened(path)
    assert taken(ours, 20) == 10
    os.truncate(path, octets)
    # What was in it is gone, or still there.
    assert taken(ours, 7) + taken(theirs, 7) + taken(ours, 20) in (10, 0)
    assert (taken(ours, 1), taken(theirs, 1)) == (0, 0)
    assert one.mark("a") == other.mark("a")


def test_a_file_of_zeros_of_any_size_is_used(path: Path) -> None:
    path.write_bytes(bytes(50_000))
    (_, ours), (_, theirs) = opened(path), opened(path)
    assert (taken(ours, 7), taken(theirs, 7)) == (7, 3)


def test_a_table_of_another_layout_is_emptied_and_not_truncated(path: Path) -> None:
    # As of an earlier version: full, mapped by its processes, and without a header.
    path.write_bytes(b"\x7f" * 1024)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 1024) as mapped:
        _, limiter = opened(path)
        assert taken(limiter, 20) == 10
        assert len(mapped[:]) == 1024
    _, other = opened(path, "two", 32)
    assert taken(other, 20) == 10


def test_two_tables_hash_differently(tmp_path: Path) -> None:
    marks = set()
    for name in ("a", "b"):
        (tmp_path / name).touch()
        marks.add(opened(tmp_path / name)[0].mark("alice@a.example"))
    assert len(marks) == 2
