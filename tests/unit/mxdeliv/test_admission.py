"""Concurrent messages and recipients of one network are limited, so that others have capacity."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from chatmail_milter.fair_share import BusyError
from mxdeliv_app.mxdeliv.admission import ConcurrencyLimit


def test_six_networks_with_large_messages_leave_room_for_small_ones() -> None:
    app = ConcurrencyLimit(100)
    with ExitStack() as held:
        admitted = 0
        for one in range(50):
            try:
                held.enter_context(app.admitted(f"n{one}", 1000))
                admitted += 1
            except BusyError:
                pass
        assert admitted == 5
        for one in range(5):
            held.enter_context(app.admitted(f"p{one}", 10))
        # A message to one recipient takes a thread and no other room.
        for one in range(30):
            held.enter_context(app.admitted(f"q{one}", 1))


def test_a_message_that_is_refused_takes_nothing() -> None:
    app = ConcurrencyLimit(100)
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(app.admitted("a", 100))
        for _ in range(200):
            with pytest.raises(BusyError), app.admitted("a", 100):
                pass
        # 4 of the 62 places that one network may have.
        for _ in range(58):
            held.enter_context(app.admitted("a", 1))
        with pytest.raises(BusyError), app.admitted("a", 1):
            pass


@pytest.mark.parametrize(("recipients", "most"), [(100, 8), (1000, 8), (16, 53), (1, 128)])
def test_twice_the_threads_take_twice_as_much(recipients: int, most: int) -> None:
    app = ConcurrencyLimit(200)
    with ExitStack() as held:
        for _ in range(most):
            held.enter_context(app.admitted("a", recipients))
        with pytest.raises(BusyError), app.admitted("a", recipients):
            pass


@pytest.mark.parametrize("threads", [1, 8])
def test_too_few_threads_for_a_message_are_refused(threads: int) -> None:
    with pytest.raises(ValueError, match="threads"):
        ConcurrencyLimit(threads)
