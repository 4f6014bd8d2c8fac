"""What a delivery waits for before it begins: the turn of its sender, then a place at its destination.

Postfix keeps the order and delivers many at once, so one message of a user to a domain may overtake another.
Apps sort by Date, which tells seconds apart: of what was sent within one, users see first what arrived first.
So a message waits for the one before, but only a moment: behind a large file, or at a peer that hangs, it
goes when that is over.

One slow peer must not hold what the others need. A domain has at most `each` places, and no more than a third
of those that are free, so that several slow ones leave some for the rest. A delivery that finds none waits a
moment, as deliveries to a busy peer end all the time; where none has ended for that long, nothing waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

# Seconds: since the message before asked for its turn; since a delivery to a domain last began or ended.
MOMENT = 1.0
_SHARE = 3


@dataclass(slots=True, eq=False)
class Turn:
    """One message's, to one domain; to be ended by `SenderOrdering.end`."""

    sender: str
    domain: str
    since: float
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> tuple[str, str]:
        return self.sender, self.domain


class SenderOrdering:
    """Who sends what to where at the moment. Lives on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, moment: float = MOMENT) -> None:
        self._clock = clock
        self._moment = moment
        self._last: dict[tuple[str, str], Turn] = {}

    @property
    def under_way(self) -> int:
        """How many senders have a message under way, counted once for each domain."""
        return len(self._last)

    async def take(self, sender: str, domain: str) -> Turn:
        """Wait for the turn of a message of `sender` to `domain`."""
        now = self._clock()
        turn = Turn(sender, domain, now)
        # Bounces come from everybody.
        before = self._last.get(turn.key) if sender else None
        self._last[turn.key] = turn
        if before is not None:
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, before.since + self._moment - now)):
                        await before.over.wait()
            except asyncio.CancelledError:
                self.end(turn)
                raise
        return turn

    def end(self, turn: Turn) -> None:
        """The message has arrived, or will not."""
        turn.over.set()
        if self._last.get(turn.key) is turn:
            del self._last[turn.key]


@dataclass(slots=True)
class _Domain:
    taken: int = 0
    moved: float = 0.0  # when a delivery last began or ended
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class DestinationConcurrency:
    """How many deliveries each domain has under way. Lives on one event loop.

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
