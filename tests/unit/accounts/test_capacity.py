"""Capacity for new accounts: the machine's load, memory and free disk, compared with the limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatmail_milter import config
from chatmail_milter.accounts import limits
from chatmail_milter.accounts.limits import Machine, shortage
from chatmail_milter.config import LimitSettings
from chatmail_milter.config.values import Size

LIMITS = LimitSettings(load=4.0, memory=Size(1000), disk=Size(5000))
ROOMY = Machine(load=0.5, memory=10_000, disk=50_000)
ENDLESS = Machine(load=0, memory=1 << 40, disk=1 << 40)


@pytest.mark.parametrize(
    ("found", "short"),
    [
        (ROOMY, None),
        (Machine(4.0, 1000, 5000), None),
        (Machine(4.01, 10_000, 50_000), "load"),
        (Machine(0.5, 999, 50_000), "memory"),
        (Machine(0.5, 10_000, 4999), "disk"),
        (Machine(9.0, 0, 0), "load"),
    ],
)
def test_what_crosses_a_limit_is_named(found: Machine, short: str | None) -> None:
    assert shortage(LIMITS, found) == short


def test_nothing_is_limited_where_the_limits_are_zero() -> None:
    none = LimitSettings(load=0, memory=Size(0), disk=Size(0))
    assert shortage(none, Machine(1000.0, 0, 0)) is None


def test_limits_are_read_with_their_units() -> None:
    read = config.parse('[mail]\ndomain = "a.test"\n[limits]\nload = 2\nmemory = "1 GiB"\ndisk = "10GB"\n')
    assert (read.limits.load, read.limits.memory, read.limits.disk) == (2.0, 1 << 30, 10**10)


def test_the_kernel_is_asked(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       2000000 kB\nMemFree:  1 kB\nMemAvailable:    1500 kB\nSwap: 0 kB\n")
    found = limits.look([tmp_path, tmp_path / "made" / "later"], meminfo)
    assert found.memory == 1500 * 1024
    assert found.load >= 0
    # What root may have above is not to be had.
    assert 0 < found.disk < 1 << 60


def test_a_kernel_that_does_not_tell_is_an_error(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1 kB\n")
    with pytest.raises(ValueError, match="MemAvailable"):
        limits.look([tmp_path], meminfo)


def test_the_disks_of_mail_and_store_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def look(places: list[Path]) -> Machine:
        asked.extend(places)
        return ENDLESS

    monkeypatch.setattr(limits, "look", look)
    head = '[mail]\ndomain = "a.test"\n[store]\nurl = '
    assert limits.shortage_check(config.parse(f'{head}"sqlite:///{tmp_path}/store.sqlite"'))() is None
    assert asked == [Path("/var/vmail"), tmp_path]
    asked.clear()
    limits.shortage_check(config.parse(f'{head}"postgresql://db.a.test/chatmail"'))()
    assert asked == [Path("/var/vmail")]
