"""Collects counts and writes them to the store together, so that a message costs no commit of its own.

A crash loses the counts since the last flush, half a second at most. Also writes which breakers are open, and
deletes old data about peers and recipients.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.store import refusals, traffic
from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.peer_trouble import Breakers
from chatmail_milter.store.peers import Peers
from chatmail_milter.store.sanitize import anonymous

# While the store is away, the newest are kept; an hour of a busy relay fits.
_KEPT = 100_000
_DEEPEST = 10
_FORGET_EVERY = 3600.0  # seconds

log = logging.getLogger(__name__)


class StatsRecorder:
    """Counts attempts over HTTPS. Thread-safe. Call `flush` about twice a second.

    `hanging`: the domains with an open breaker, as `Breaker.open_domains` returns them. `longest`: seconds
    after which every attempt has ended.
    """

    def __init__(self, engine: Engine, hanging: Callable[[], Mapping[str, float]], longest: float) -> None:
        self._engine = engine
        self._peers = Peers(engine)
        self._endpoints = Endpoints(engine)
        self._breakers = Breakers(engine)
        self._hanging = hanging
        self._longest = timedelta(seconds=longest)
        self._lock = threading.Lock()
        self._contacts: list[Contact] = []
        self._reported: frozenset[str] = frozenset()
        self._forgot = float("-inf")

    def https(
        self,
        domain: str,
        *,
        latency: float | None = None,
        reason: str | None = None,
        words: str = "",
        addresses: Iterable[str] = (),
    ) -> None:
        """Counts one attempt: a success of `latency` seconds, or a failure for `reason`.

        `words`: the peer's text, in which `addresses` may occur.
        """
        told = anonymous(words, addresses) if words else ""
        contact = Contact(domain, "https", reason is None, latency, reason, datetime.now(UTC), words=told)
        with self._lock:
            self._contacts.append(contact)

    def flush(self) -> None:
        """Writes the counts, and does what else is due."""
        with self._lock:
            contacts, self._contacts = self._contacts, []
        try:
            if contacts:
                self._peers.add(contacts)
        except SQLAlchemyError as error:
            log.error("event=counts-kept-back error=%s", type(error).__name__)
            with self._lock:
                self._contacts = (contacts + self._contacts)[-_KEPT:]
            return
        try:
            self._report()
            self._forget()
        except SQLAlchemyError as error:
            log.error("event=not-written error=%s", type(error).__name__)

    def _report(self) -> None:
        waited_for = self._hanging()
        if waited_for.keys() == self._reported:
            return
        now = datetime.now(UTC)
        until = {domain: now + self._longest - timedelta(seconds=age) for domain, age in waited_for.items()}
        self._breakers.report(socket.gethostname(), until)
        self._reported = frozenset(waited_for)

    def _forget(self) -> None:
        if time.monotonic() - self._forgot < _FORGET_EVERY:
            return
        now = datetime.now(UTC)
        forgotten = self._peers.forget_old(now)
        forgotten += self._endpoints.forget_old(now)
        forgotten += refusals.forget_old(self._engine, now.timestamp())
        forgotten += traffic.forget_old(self._engine, now)
        if forgotten:
            log.info("event=forgotten rows=%d", forgotten)
        self._forgot = time.monotonic()


def said_by(error: BaseException) -> str:
    """The text of the innermost error in a chain: libraries wrap the errors of TLS and of the kernel."""
    for _ in range(_DEEPEST):
        inside = [error.__cause__, getattr(error, "reason", None), *error.args]
        inner = next((one for one in inside if isinstance(one, BaseException)), None)
        if inner is None:
            break
        error = inner
    return str(error)
