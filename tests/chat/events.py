"""What a chat core says, in order, each event with the moment it was read from the core.

Stands in for the client library's event queue (its `put` is called by the library's reading thread), because
that queue knows neither time nor a bound on waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.chat.deadline import PATIENCE, LateError


@dataclass(frozen=True)
class Event:
    """One event: `at` in seconds since the epoch, `kind` and fields as the core sent them."""

    at: float
    kind: str
    fields: dict[str, Any]


class EventLog:
    """All events of one account, by position: `mark()` before something, `wait(..., since=mark)` after."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = threading.Condition()

    def put(self, payload: dict[str, Any]) -> None:
        """Called by the client library for each event."""
        event = Event(time.time(), str(payload["kind"]), payload)
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def mark(self) -> int:
        """The position after the newest event."""
        with self._changed:
            return len(self._events)

    def wait(self, what: str, matches: Callable[[Event], bool], seconds: float, since: int = 0) -> Event:
        """The first event from position `since` on that matches; `LateError` when it is late."""
        end = time.monotonic() + seconds * PATIENCE
        while True:
            event = self._next(since, end)
            if event is None:
                raise LateError(f"{what}: not within {seconds * PATIENCE:g} s")
            since += 1
            # Outside the lock: a match may ask the core, whose other events must not be held up by that.
            if matches(event):
                return event

    def last(self, *kinds: str) -> list[str]:
        """The messages of the newest events of these kinds, for reports of failures."""
        with self._changed:
            return [str(one.fields.get("msg", one.fields)) for one in self._events if one.kind in kinds][-5:]

    def _next(self, position: int, end: float) -> Event | None:
        with self._changed:
            while len(self._events) <= position:
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            return self._events[position]
