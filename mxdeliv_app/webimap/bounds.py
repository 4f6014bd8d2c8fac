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


class BeforeLogin:
    """Connections that have not logged in, at most `size`. For one more, another one ends.

    It is the oldest one of the network that has most, in the site that has most. So a site's only one stays
    until it has logged in, however many connections others make, while they are of fewer than `size` sites.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._sites: Counter[str] = Counter()
        # Each in the order of arrival.
        self._waiting: dict[Owner, dict[asyncio.Timeout, None]] = {}

    @asynccontextmanager
    async def take(self, owner: Owner) -> AsyncIterator[None]:
        """Always takes. The block ends with `WireError` (503) if another connection needs the place."""
        try:
            async with asyncio.timeout(None) as until:
                self._sites[owner.site] += 1
                self._waiting.setdefault(owner, {})[until] = None
                if self._sites.total() > self._size:
                    self._end_one()
                try:
                    yield
                finally:
                    self._leave(owner, until)
        except TimeoutError:
            raise WireError(503, "too many connections before login, try again later") from None

    def _end_one(self) -> None:
        # `max` returns the first of equals, so never the one that has just come.
        site = max(self._sites, key=self._sites.__getitem__)
        networks = (one for one in self._waiting if one.site == site)
        owner = max(networks, key=lambda one: len(self._waiting[one]))
        until = next(iter(self._waiting[owner]))
        self._leave(owner, until)
        until.reschedule(0)

    def _leave(self, owner: Owner, until: asyncio.Timeout) -> None:
        of_network = self._waiting.get(owner, {})
        if until in of_network:
            del of_network[until]
            self._sites[owner.site] -= 1
            # Nothing in memory of those that have none.
            if not of_network:
                del self._waiting[owner]
            if not self._sites[owner.site]:
                del self._sites[owner.site]


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
