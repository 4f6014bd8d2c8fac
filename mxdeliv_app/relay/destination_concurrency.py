"""How many deliveries a domain may have under way: one slow peer must not hold what the others need.

A domain has at most `each` places, and no more than a third of those that are free, so that several slow ones
leave some for the rest. Whoever finds none waits a moment, as deliveries to a busy peer end all the time;
where none has ended for that long, nobody waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

MOMENT = 1.0  # seconds
_SHARE = 3


@dataclass(slots=True)
class _Domain:
    taken: int = 0
    moved: float = 0.0  # when a delivery last began or ended
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class DestinationConcurrency:
    """Who has which. Lives on one event loop.

    `passes`: whether a domain's deliveries don't wait for its peer now, and so need no place.
    """

    def __init__(
        self,
        total: int,
        each: int,
        passes: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
        moment: float = MOMENT,
    ) -> None:
        self._total = total
        self._each = each
        self._passes = passes
        self._clock = clock
        self._moment = moment
        self._taken = 0
        self._domains: dict[str, _Domain] = {}

    async def take(self, domain: str) -> bool:
        """Take a place for `domain`, to be given back; False where the domain is too busy."""
        place = self._domains.setdefault(domain, _Domain())
        if not self._is_full(place) or self._passes(domain):
            self._take(place)
            return True
        if self._clock() - place.moved > self._moment:
            return False
        return await self._wait(domain, place)

    def give_back(self, domain: str) -> None:
        """A delivery to `domain` has ended, or will not begin."""
        place = self._domains[domain]
        place.taken -= 1
        place.moved = self._clock()
        self._taken -= 1
        while place.waiting and not self._is_full(place):
            waiter = place.waiting.popleft()
            if not waiter.done():
                self._take(place)
                waiter.set_result(None)
        if not place.taken and not place.waiting:
            del self._domains[domain]

    def _is_full(self, place: _Domain) -> bool:
        fair = max(1, (self._total - self._taken) // _SHARE)
        return place.taken >= min(self._each, fair)

    def _take(self, place: _Domain) -> None:
        place.taken += 1
        place.moved = self._clock()
        self._taken += 1

    async def _wait(self, domain: str, place: _Domain) -> bool:
        waiter = asyncio.get_running_loop().create_future()
        place.waiting.append(waiter)
        try:
            async with asyncio.timeout(self._moment):
                await waiter
        except TimeoutError:
            # It may have been given one in the very moment that it gave up.
            return waiter.done() and not waiter.cancelled()
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give_back(domain)
            raise
        return True
