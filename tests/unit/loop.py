"""An event loop with a time limit, and a clock that tests set."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Clock:
    """Monotonic seconds, as a test says."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Do it on a loop of its own, within 20 s."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(bounded())
