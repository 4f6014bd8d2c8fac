"""Runs asyncio code of a test, with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Runs `work` on a new event loop. Raises `TimeoutError` after 20 s."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(bounded())
