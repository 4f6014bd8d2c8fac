"""Concurrent deliveries to one domain are limited; others wait for a bounded time."""

from __future__ import annotations

import asyncio

import pytest

from mxdeliv_app.relay.concurrency import DestinationConcurrency
from tests.unit.clock import Clock
from tests.unit.loop import run


def never(_domain: str) -> bool:
    return False


def test_a_domain_has_so_many_places_and_no_more() -> None:
    async def work() -> None:
        places = DestinationConcurrency(64, 4, never, moment=0.01)
        assert [await places.take("a.test") for _ in range(5)] == [True] * 4 + [False]
        assert await places.take("b.test")

    run(work)


def test_several_slow_domains_leave_places_for_the_rest() -> None:
    async def work() -> None:
        places = DestinationConcurrency(64, 16, never, moment=0.001)
        held = []
        for number in range(6):
            taken = 0
            while await places.take(f"slow{number}.test"):
                taken += 1
            held.append(taken)
        assert held[0] == 16
        assert held == sorted(held, reverse=True)
        assert sum(held) < 64 - 10
        assert await places.take("other.test")

    run(work)


def test_a_domain_always_has_one() -> None:
    async def work() -> None:
        places = DestinationConcurrency(2, 16, never, moment=0.001)
        for name in ("a.test", "b.test", "c.test"):
            assert await places.take(name)

    run(work)


def test_who_waits_gets_the_place_that_is_given_back_in_turn() -> None:
    async def work() -> None:
        places = DestinationConcurrency(64, 1, never, moment=10)
        assert await places.take("a.test")
        came: list[int] = []

        async def wait(number: int) -> None:
            assert await places.take("a.test")
            came.append(number)

        tasks = [asyncio.create_task(wait(number)) for number in range(3)]
        await asyncio.sleep(0)
        for _ in range(3):
            places.give_back("a.test")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert came == [0, 1, 2]

    run(work)


def test_nobody_waits_where_nothing_has_ended_for_a_moment() -> None:
    clock = Clock()

    async def work() -> None:
        places = DestinationConcurrency(64, 1, never, clock, moment=600.0)
        assert await places.take("a.test")
        clock.now += 600.1
        assert not await asyncio.wait_for(places.take("a.test"), 60)

    run(work)


def test_past_an_open_breaker_no_place_is_needed() -> None:
    async def work() -> None:
        places = DestinationConcurrency(64, 1, lambda domain: domain == "broken.test", moment=0.001)
        assert [await places.take("broken.test") for _ in range(3)] == [True] * 3
        for _ in range(3):
            places.give_back("broken.test")

    run(work)


def test_who_leaves_while_waiting_takes_no_place_along() -> None:
    async def work() -> None:
        places = DestinationConcurrency(64, 1, never, moment=10)
        assert await places.take("a.test")
        waiting = asyncio.create_task(places.take("a.test"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        places.give_back("a.test")
        assert await places.take("a.test")

    run(work)
