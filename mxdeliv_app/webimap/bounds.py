"""What web clients may occupy: places of one key, and octets of messages in memory. For one event loop."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from mxdeliv_app.webimap.wire import WireError


class Places:
    """At most `limit` at once for each key."""

    def __init__(self, limit: int, refusal: str) -> None:
        self._limit = limit
        self._refusal = refusal
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, key: str) -> Iterator[None]:
        """Raises `WireError` (429) if all are taken."""
        if self._taken[key] >= self._limit:
            raise WireError(429, self._refusal)
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


class Octets:
    """A number of octets that all share; who needs more than is free waits for `seconds`."""

    def __init__(self, total: int, seconds: float = 30.0) -> None:
        self._total = self._free = total
        self._seconds = seconds
        self._given_back = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, octets: int) -> AsyncIterator[None]:
        """Raises `WireError` (503) if they are not free in time."""
        needed = min(octets, self._total)
        try:
            async with asyncio.timeout(self._seconds), self._given_back:
                await self._given_back.wait_for(lambda: self._free >= needed)
                self._free -= needed
        except TimeoutError:
            raise WireError(503, "too many large messages at once, try again later") from None
        try:
            yield
        finally:
            self._free += needed
            async with self._given_back:
                self._given_back.notify_all()


def network(client: str) -> str:
    """What an address counts as: itself, or for IPv6 the /64, which a provider gives to one customer."""
    address = ipaddress.ip_address(client)
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else client
