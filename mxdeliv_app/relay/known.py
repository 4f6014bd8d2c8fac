"""What the store says of a domain, its route and its endpoint; held for a moment, as many messages ask.

Nothing is held for longer than `LEASE`, and who changes a route or forgets an endpoint waits that long, so it
is in force on the next message. What this process learns itself it knows at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chatmail_milter.store.endpoints import Endpoint, Endpoints
from chatmail_milter.store.lease import LEASE
from chatmail_milter.store.routes import Route, Routes

_DOMAINS = 5000


@dataclass(frozen=True, slots=True)
class _Held:
    route: Route | None
    endpoint: Endpoint | None
    until: float


class Known:
    """Routes and endpoints; safe for threads. All methods may raise `sqlalchemy.exc.SQLAlchemyError`."""

    def __init__(
        self, routes: Routes, endpoints: Endpoints, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._routes = routes
        self._endpoints = endpoints
        self._clock = clock
        self._held: dict[str, _Held] = {}

    def route(self, domain: str) -> Route | None:
        """The operator's route for `domain`, if there is one."""
        return self._of(domain).route

    def endpoint(self, domain: str) -> Endpoint | None:
        """What is known of HTTPS at `domain`, if anything."""
        return self._of(domain).endpoint

    def worked(self, domain: str, host: str, now: datetime, known: Endpoint | None) -> None:
        """`host` took HTTPS for `domain`."""
        if self._endpoints.worked(domain, host, now, known):
            self._held.pop(domain, None)

    def failed(self, domain: str, reason: str, now: datetime, known: Endpoint | None) -> None:
        """No host of `domain` took HTTPS."""
        self._endpoints.failed(domain, reason, now, known)
        self._held.pop(domain, None)

    def unmark(self, domain: str) -> None:
        """Try HTTPS at `domain` again."""
        self._endpoints.unmark(domain)
        self._held.pop(domain, None)

    def _of(self, domain: str) -> _Held:
        now = self._clock()
        held = self._held.get(domain)
        if held is None or now >= held.until:
            held = _Held(self._routes.get(domain), self._endpoints.get(domain), now + LEASE)
            if len(self._held) >= _DOMAINS:
                self._held.clear()
            self._held[domain] = held
        return held
