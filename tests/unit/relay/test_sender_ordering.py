"""Messages of one user to one domain go in order; other users and domains never wait for them."""

from __future__ import annotations

import asyncio

import pytest

from mxdeliv_app.relay.concurrency import SenderOrdering, Turn
from tests.unit.clock import Clock
from tests.unit.loop import run

ALICE, ANNA, THERE = "alice@a.test", "anna@a.test", "b.test"


def test_each_waits_for_the_one_before() -> None:
    async def work() -> None:
        turns, ended = SenderOrdering(moment=1000), list[int]()

        async def send(number: int) -> None:
            turn = await turns.take(ALICE, THERE)
            # The later, the quicker.
            for _ in range(10 - number):
                await asyncio.sleep(0)
            ended.append(number)
            turns.end(turn)

        await asyncio.gather(*(send(number) for number in range(10)))
        assert ended == list(range(10))

    run(work)


@pytest.mark.parametrize(
    ("sender", "domain"), [(ANNA, THERE), (ALICE, "c.test"), ("", THERE)], ids=["who", "where", "a bounce"]
)
def test_nobody_else_waits(sender: str, domain: str) -> None:
    async def work() -> None:
        turns = SenderOrdering(moment=60)
        await turns.take(ALICE, THERE)
        await turns.take("", THERE)
        turns.end(await turns.take(sender, domain))

    run(work)


def test_nobody_waits_longer_than_a_moment_after_the_one_before_came() -> None:
    async def work() -> None:
        clock = Clock()
        turns = SenderOrdering(clock, moment=1000)
        await turns.take(ALICE, THERE)
        clock.now += 1000
        # This one came a while after, and goes; who comes behind it waits again.
        second = await turns.take(ALICE, THERE)
        third = asyncio.create_task(turns.take(ALICE, THERE))
        await asyncio.sleep(0)
        assert not third.done()
        turns.end(second)
        turns.end(await third)

    run(work)


def test_the_moment_passes_by_itself() -> None:
    async def work() -> None:
        turns = SenderOrdering(moment=0.01)
        await turns.take(ALICE, THERE)
        await turns.take(ALICE, THERE)

    run(work)


def test_who_leaves_while_waiting_keeps_nobody() -> None:
    async def work() -> None:
        turns = SenderOrdering(moment=60)
        first = await turns.take(ALICE, THERE)
        waiting = asyncio.create_task(turns.take(ALICE, THERE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        turns.end(await turns.take(ALICE, THERE))
        turns.end(first)

    run(work)


def test_nothing_is_kept_of_those_who_are_done() -> None:
    async def work() -> None:
        turns = SenderOrdering(moment=60)
        held: list[Turn] = [await turns.take(ALICE, f"{number}.test") for number in range(100)]
        for one in held:
            turns.end(one)
        assert turns.under_way == 0

    run(work)
