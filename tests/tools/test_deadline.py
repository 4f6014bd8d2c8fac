"""Time limits end a wait of the demo and the end-to-end tests."""

from __future__ import annotations

import queue
import signal

import pytest

from tests.chat.deadline import LateError, deadline, until
from tests.chat.events import Event, EventLog


def test_until_gives_the_first_truthy_value() -> None:
    answers = iter([None, 0, "yes", "later"])
    assert until("an answer", lambda: next(answers), 5, every=0.001) == "yes"


def test_until_says_what_was_late() -> None:
    with pytest.raises(LateError, match=r"the mail arrives: not within 0\.05 s"):
        until("the mail arrives", lambda: False, 0.01, every=0.001)


def test_deadline_interrupts_a_call_that_blocks_for_ever() -> None:
    with pytest.raises(LateError, match="nothing comes"), deadline("nothing comes", 0.01):
        queue.Queue[int]().get()


def test_the_nearer_of_two_deadlines_strikes() -> None:
    with pytest.raises(LateError, match="outer"), deadline("outer", 0.01), deadline("inner", 60):
        queue.Queue[int]().get()
    with deadline("outer", 60):
        with pytest.raises(LateError, match="inner"), deadline("inner", 0.01):
            queue.Queue[int]().get()
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 200 < left < 300
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_events_are_waited_for_from_a_position() -> None:
    log = EventLog()
    log.put({"kind": "MsgDelivered", "msgId": 1})
    mark = log.mark()

    def delivered(event: Event) -> bool:
        return event.kind == "MsgDelivered"

    assert log.wait("old", delivered, 1).fields["msgId"] == 1
    with pytest.raises(LateError):
        log.wait("new", delivered, 0.01, mark)
    log.put({"kind": "MsgDelivered", "msgId": 2})
    assert log.wait("new", delivered, 1, mark).fields["msgId"] == 2
