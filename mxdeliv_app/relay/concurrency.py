"""Orders and limits deliveries: each waits for the policy, its sender's turn, and a place at its destination.

Postfix delivers many messages at once, so one message of a user to a domain could overtake another. Apps sort
by Date, in whole seconds, and show messages of one second in the order of arrival. So a message waits for the
one before it, but only for a moment: a large file, or a peer that hangs, does not delay it for longer.

A slow peer must not occupy what the others need. A domain has at most `each` places, and at most a third of
the free ones, so that several slow domains leave some for the rest. A delivery without a place waits for a
moment, because deliveries to a busy peer end all the time; if none has ended for that long, it does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from chatmail_milter.rules.policy import Policy
from chatmail_milter.store.policies import Policies

# Seconds: since the message before asked for its turn; since a delivery to a domain last began or ended.
MOMENT = 1.0
_SHARE = 3


class PolicyInForce:
    """The policy in force. One object serves all sessions of an event loop, in the order in which they ask.

    The store is read in a thread, because other work must not wait. Sessions that ask meanwhile wait, or they
    would overtake the session for which it is read.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._asked = asyncio.Lock()  # whose waiters are served as they come

    async def ask(self) -> Policy:
        """The policy. Raises `sqlalchemy.exc.SQLAlchemyError` if the store can't be read."""
        if not self._asked.locked() and (held := self._policies.held()) is not None:
            return held
        async with self._asked:
            held = self._policies.held()
            return await asyncio.to_thread(self._policies.current) if held is None else held


@dataclass(slots=True, eq=False)
class Turn:
    """The turn of one message to one domain. `SenderOrdering.end` must end it."""

    sender: str
    domain: str
    since: float
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> tuple[str, str]:
        return self.sender, self.domain


class SenderOrdering:
    """The current and waiting messages, by sender and domain. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, moment: float = MOMENT) -> None:
        self._clock = clock
        self._moment = moment
        self._last: dict[tuple[str, str], Turn] = {}

    @property
    def under_way(self) -> int:
        """The number of pairs of sender and domain with a message in progress."""
        return len(self._last)

    async def take(self, sender: str, domain: str) -> Turn:
        """Waits for the turn of a message of `sender` to `domain`."""
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
        """Ends a turn: the message was delivered, or failed."""
        turn.over.set()
        if self._last.get(turn.key) is turn:
            del self._last[turn.key]


@dataclass(slots=True)
class _Domain:
    taken: int = 0
    moved: float = 0.0  # when a delivery last began or ended
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class DestinationConcurrency:
    """The number of current deliveries by domain. For one event loop.

    `passes`: whether deliveries to a domain do not wait for its peer now, and so need no place.
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
        """Takes a place for `domain`; False if the domain is too busy. `give_back` returns it."""
        place = self._domains.setdefault(domain, _Domain())
        if not self._is_full(place) or self._passes(domain):
            self._take(place)
            return True
        if self._clock() - place.moved > self._moment:
            return False
        return await self._wait(domain, place)

    def give_back(self, domain: str) -> None:
        """Returns the place of a delivery to `domain`."""
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
