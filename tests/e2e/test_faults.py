"""Much mail to many domains while parts of a relay fail: `make test-faults` with two causes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import report, trial
from tests.faults.arrangement import Arrangement, arranged
from tests.faults.causes import OTHERS, OURS, closed, kill
from tests.faults.trial import FaultCause
from tests.lab import Lab

MESSAGES = 80
# A user may submit ten at once.
WRITERS = 10

CAUSES = (
    FaultCause("everything is killed", kill(*OURS, *OTHERS.values(), times=1)),
    FaultCause("both roads are closed", closed(443, 25, how="refuse")),
)


@pytest.fixture(scope="module")
def arrangement(lab: Lab) -> Iterator[Arrangement]:
    with arranged(lab, WRITERS) as arrangement:
        yield arrangement


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_every_message_is_in_one_place_and_no_queue_is_stuck_after(
    arrangement: Arrangement, cause: FaultCause
) -> None:
    row = trial.hold(cause, arrangement, MESSAGES)
    print(report.line(row))
    assert row.breaches == ()
    assert row.sent + row.unknown == MESSAGES
    assert row.sent <= row.delivered + row.bounced
    assert row.waiting > 0
