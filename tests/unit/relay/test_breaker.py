"""The circuit breaker opens for a peer that hangs."""

from __future__ import annotations

from contextlib import ExitStack

from mxdeliv_app.relay.breaker import Breaker
from tests.unit.clock import Clock


def test_opens_when_four_attempts_hang_for_more_than_five_seconds() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    with ExitStack() as under_way:
        for _ in range(4):
            under_way.enter_context(breaker.attempt("b.test"))
        assert not breaker.is_open("b.test"), "many at once are only busy"
        clock.now += 5.1
        assert breaker.is_open("b.test")
        assert not breaker.is_open("c.test")
    assert not breaker.is_open("b.test")


def test_a_large_message_may_take_longer() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    with ExitStack() as under_way:
        for _ in range(4):
            under_way.enter_context(breaker.attempt("b.test", 8.0))
        clock.now += 12.9
        assert not breaker.is_open("b.test")
        clock.now += 0.2
        assert breaker.is_open("b.test")


def test_it_knows_whether_anybody_is_trying() -> None:
    breaker = Breaker(Clock())
    with breaker.attempt("b.test"):
        assert breaker.is_tried("b.test")
        assert not breaker.is_tried("c.test")
    assert not breaker.is_tried("b.test")


def test_three_that_hang_do_not_open_it() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    with ExitStack() as under_way:
        for _ in range(3):
            under_way.enter_context(breaker.attempt("b.test"))
        clock.now += 60
        assert not breaker.is_open("b.test")
