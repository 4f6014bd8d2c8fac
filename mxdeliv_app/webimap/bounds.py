"""Limits on what web clients share: connections, threads, and octets in memory. For one event loop.

No account and no site (an IPv4 /24, an IPv6 /48) can take what others need: each has a `FairShare`. A client
beyond its share waits, and waiting clients are served in turn.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import NamedTuple

from chatmail_milter.address import network_of, site_of
from chatmail_milter.fair_share import BusyError, FairShare
from mxdeliv_app.webimap.wire import WireError


class Owner(NamedTuple):
    """A client that takes units: an account, or before its login a network; and its site."""

    site: str
    name: str

    @classmethod
    def at(cls, client: str, account: str = "") -> Owner:
        """For the IP address of a client."""
        peer = ip_address(client)
        return cls(site_of(peer), account.lower() or network_of(peer))


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


class Shares:
    """Units of which each site and each owner has a share."""

    def __init__(self, size: int) -> None:
        self._shares = FairShare(size), FairShare(size)

    @property
    def free(self) -> int:
        """The units that are free."""
        return self._shares[0].free

    def take(self, owner: Owner, amount: int = 1) -> ExitStack:
        """Takes units, which the stack gives back. Raises `BusyError`."""
        with ExitStack() as stack:
            for share, client in zip(self._shares, owner, strict=True):
                stack.enter_context(share.taken(client, amount))
            return stack.pop_all()


class Turns:
    """Units that clients share. A client beyond its share waits for `seconds` at most."""

    def __init__(self, size: int, seconds: float = 30.0) -> None:
        self._shares = Shares(size)
        self._seconds = seconds
        self._waiting: dict[Owner, deque[tuple[int, asyncio.Future[ExitStack]]]] = {}

    @asynccontextmanager
    async def take(self, owner: Owner, amount: int = 1) -> AsyncIterator[None]:
        """Raises `WireError` (503) if it takes too long."""
        try:
            taken = self._shares.take(owner, amount)
        except BusyError:
            taken = await self._turn(owner, amount)
        try:
            yield
        finally:
            taken.close()
            self._serve()

    async def _turn(self, owner: Owner, amount: int) -> ExitStack:
        turn: asyncio.Future[ExitStack] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append((amount, turn))
        try:
            async with asyncio.timeout(self._seconds):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                turn.result().close()
            self._serve()
            if isinstance(error, TimeoutError):
                raise WireError(503, "too many requests at once, try again later") from None
            raise

    def _serve(self) -> None:
        while self._shares.free and any(self._give(owner) for owner in tuple(self._waiting)):
            pass

    def _give(self, owner: Owner) -> bool:
        """Serves the owner's first request, if its share allows it. Its next one goes behind all others."""
        waiting = self._waiting.pop(owner)
        while waiting and waiting[0][1].done():
            waiting.popleft()
        given = False
        if waiting:
            amount, turn = waiting[0]
            try:
                turn.set_result(self._shares.take(owner, amount))
                waiting.popleft()
                given = True
            except BusyError:
                pass
        if waiting:
            self._waiting[owner] = waiting
        return given
