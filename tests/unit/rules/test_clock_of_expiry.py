"""The expiry pass distrusts a clock that is far after its last pass, and stores the time of each pass."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatmail_milter.mailboxes import passes
from chatmail_milter.mailboxes.passes import leapt

NOW, DAY = 1_800_000_000.0, 86400.0


@pytest.mark.parametrize(
    ("last", "ahead"),
    [
        (None, 0),
        (NOW - 3600, 0),
        (NOW - 7 * DAY, 0),
        (NOW - 7 * DAY - 1, 7 * DAY + 1),
        (NOW - 90 * DAY, 90 * DAY),
        (0.0, NOW),
        (NOW + 3600, 0),
        (NOW + 90 * DAY, 0),
    ],
)
def test_a_clock_that_is_more_than_a_week_after_the_last_pass_is_not_gone_by(
    last: float | None, ahead: float
) -> None:
    assert leapt(last, NOW) == ahead


class TestWitness:
    def test_remembers_the_latest_pass(self, tmp_path: Path) -> None:
        assert passes.last(tmp_path) is None
        for now, latest in ((NOW, NOW), (NOW - 90 * DAY, NOW), (NOW + DAY, NOW + DAY)):
            passes.record_pass(tmp_path, now)
            assert passes.last(tmp_path) == latest

    def test_is_nobody_elses_to_write(self, tmp_path: Path) -> None:
        before = os.umask(0)
        passes.record_pass(tmp_path, NOW)
        os.umask(before)
        assert (tmp_path / ".expired").stat().st_mode & 0o777 == 0o600
