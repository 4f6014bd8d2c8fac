"""Caches routes, endpoints and hosts of domains from the store, for at most `LEASE`.

A command that changes a route or forgets an endpoint waits for `LEASE`, so the next message goes by the
change. What this process learns itself is in its cache at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.store.endpoint_hosts import PROVEN_FOR, EndpointHosts, HostState
from chatmail_milter.store.endpoints import Endpoint, Endpoints, is_news
from chatmail_milter.store.revision import LEASE
from chatmail_milter.store.routes import Route, Routes
from mxdeliv_app.https.event_loop import may_wait

_DOMAINS = 5000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _CachedDomain:
    route: Route | None
    endpoint: Endpoint | None
    hosts: Mapping[str, HostState]
    until: float


class DomainCache:
    """The cache. Thread-safe. All methods may raise `SQLAlchemyError`."""

    def __init__(
        self,
        routes: Routes,
        endpoints: Endpoints,
        hosts: EndpointHosts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._routes = routes
        self._endpoints = endpoints
        self._hosts = hosts
        self._clock = clock
        self._held: dict[str, _CachedDomain] = {}
        # Many messages to a domain find at once that what is held has run out: one of them reads for all.
        self._reading: dict[str, Future[_CachedDomain]] = {}
        # How often this process learnt something: what was read before is not held after.
        self._learnt = 0
        self._lock = threading.Lock()

    def route(self, domain: str) -> Route | None:
        """The operator's route for `domain`, or None."""
        return self._of(domain).route

    def endpoint(self, domain: str) -> Endpoint | None:
        """The cached facts about HTTPS at `domain`, or None."""
        return self._of(domain).endpoint

    def host(self, domain: str, host: str) -> HostState:
        """The cached facts about one host of `domain`."""
        return self._of(domain).hosts.get(host) or HostState(host)

    def proved(self, domain: str, host: str, now: datetime) -> None:
        """Stores that `host` is a chatmail server, if that is new or half of the proof's time is over."""
        until = self.host(domain, host).proven_until
        if until is None or until - now < PROVEN_FOR / 2:
            may_wait()
            self._hosts.proved(domain, host, now)
            self._forget(domain)

    def disproved(self, domain: str, host: str, now: datetime) -> None:
        """Stores that `host` is not a chatmail server."""
        may_wait()
        self._hosts.disproved(domain, host, now)
        self._forget(domain)

    def doubted(self, domain: str, host: str) -> None:
        """Stores that `host` has to prove itself again."""
        may_wait()
        self._hosts.doubted(domain, host)
        self._forget(domain)

    def limited(self, domain: str, host: str, size: int, now: datetime) -> None:
        """Stores that `host` refuses messages of `size` octets for their size."""
        may_wait()
        self._hosts.limited(domain, host, size, now)
        self._forget(domain)

    def worked(self, domain: str, host: str, now: datetime, known: Endpoint | None) -> None:
        """Stores that `host` accepted a message for `domain` by HTTPS."""
        if is_news(host, now, known):
            may_wait()
            self._endpoints.worked(domain, host, now, known)
            self._forget(domain)

    def failed(self, domain: str, reason: str, now: datetime, known: Endpoint | None) -> None:
        """Stores that no host of `domain` accepted a message by HTTPS."""
        may_wait()
        self._endpoints.failed(domain, reason, now, known)
        self._forget(domain)

    def unmark(self, domain: str) -> None:
        """Lifts the suspension of HTTPS at `domain`."""
        may_wait()
        self._endpoints.unmark(domain)
        self._forget(domain)

    def _forget(self, domain: str) -> None:
        with self._lock:
            self._learnt += 1
            self._held.pop(domain, None)
            self._reading.pop(domain, None)

    def _of(self, domain: str) -> _CachedDomain:
        now = self._clock()
        held = self._held.get(domain)
        while held is None or now >= held.until:
            may_wait()
            with self._lock:
                reading = self._reading.get(domain)
                if reading is None:
                    mine = self._reading[domain] = Future()
            # Another's reading that began too long ago is as good as none, and is over by then.
            held = self._read(domain, mine) if reading is None else reading.result()
        return held

    def _read(self, domain: str, mine: Future[_CachedDomain]) -> _CachedDomain:
        """Reads the store, for all that wait for `mine`."""
        learnt, until = self._learnt, self._clock() + LEASE
        try:
            held = _CachedDomain(
                self._routes.get(domain), self._endpoints.get(domain), self._hosts.of(domain), until
            )
        except BaseException as error:
            self._over(domain, mine)
            mine.set_exception(error)
            raise
        with self._lock:
            if self._learnt == learnt:
                if len(self._held) >= _DOMAINS:
                    self._held.clear()
                self._held[domain] = held
        self._over(domain, mine)
        mine.set_result(held)
        return held

    def _over(self, domain: str, mine: Future[_CachedDomain]) -> None:
        with self._lock:
            if self._reading.get(domain) is mine:
                del self._reading[domain]


@contextmanager
def store_may_fail() -> Iterator[None]:
    """Ignores faults of the store while a fact is stored: without the reply, mail would be sent twice."""
    try:
        yield
    except SQLAlchemyError as error:
        log.error("event=endpoint-not-stored error=%s", type(getattr(error, "orig", None) or error).__name__)
