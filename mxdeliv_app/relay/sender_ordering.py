"""Whose turn it is: what one user sends to one domain goes in the order in which Postfix handed it over.

Postfix keeps the order and delivers many at once, so one message may overtake another. Apps sort by Date,
which tells seconds apart: of what was sent within one, users see first what arrived first. So a message waits
for the one before, but only a moment: behind a large file, or at a peer that hangs, it goes when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

MOMENT = 1.0  # seconds since the one before asked for its turn


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
