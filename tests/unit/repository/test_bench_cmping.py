"""What is read from cmping's output."""

from __future__ import annotations

import pytest

from tests.bench.cmping import Pings, times
from tests.lab import LabError

SAID = """\
64 bytes ME -> a.test -> b.test -> ME seq=0 time=210.00ms 1/1 (elapsed: 0.00ms)
64 bytes ME -> a.test -> b.test -> ME seq=1 time=91.50ms 1/1 (elapsed: 0.00ms)
--- me@a.test -> 1 receivers statistics ---
2 transmitted, 2 received, 0.00% loss
rtt min/avg/max/mdev = 91.500/150.750/210.000/83.792 ms
"""


def test_the_average_and_each_time_are_read() -> None:
    assert times(SAID) == Pings(average=150.75, each=(210.0, 91.5))


@pytest.mark.parametrize("lines", [slice(4), slice(2, None)])
def test_an_output_without_times_is_trouble(lines: slice) -> None:
    with pytest.raises(LabError):
        times("\n".join(SAID.splitlines()[lines]))
