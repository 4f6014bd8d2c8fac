"""Tasks that wait for the policy from the store get it in the order in which they asked."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

import pytest
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.rules.policy import OPEN, Policy
from chatmail_milter.store.policies import Policies
from mxdeliv_app.relay.concurrency import PolicyInForce
from tests.unit.loop import run


class Slow:
    """A store whose first reading takes until `read` is set, and the others no time."""

    def __init__(self) -> None:
        self.read = threading.Event()
        self.readings = 0

    def held(self) -> Policy | None:
        return OPEN if self.read.is_set() else None

    def current(self) -> Policy:
        self.readings += 1
        if self.readings == 1:
            assert self.read.wait(120)
        return OPEN


def test_they_go_on_as_they_asked() -> None:
    async def work() -> None:
        store, ended = Slow(), list[int]()
        policy = PolicyInForce(cast(Policies, store))

        async def ask(number: int) -> None:
            assert await policy.ask() is OPEN
            ended.append(number)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask(0))
            while not store.readings:
                await asyncio.sleep(0)
            # It is at hand from here on, and the first has not gone on yet.
            store.read.set()
            for number in (1, 2):
                group.create_task(ask(number))
        assert ended == [0, 1, 2]
        assert store.readings == 1

    run(work)


def test_a_store_that_can_not_be_read_keeps_nobody() -> None:
    class Broken(Slow):
        def current(self) -> Policy:
            raise SQLAlchemyError

    async def work() -> None:
        store = Broken()
        policy = PolicyInForce(cast(Policies, store))
        with pytest.raises(SQLAlchemyError):
            await policy.ask()
        store.read.set()
        assert await policy.ask() is OPEN

    run(work)
