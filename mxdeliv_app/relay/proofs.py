"""Proof that a host is a chatmail server, asked for once for all messages that wait for it.

It is asked for by a POST without recipients, which every `/mxdeliv` refuses: an ordinary web server, which
may say yes to everything, gets no message at all. This costs one round trip, as the connection is kept for
the message. Proof and refutation are in the store (`store.endpoint_hosts`) and run out there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mxdeliv_app.https.event_loop import may_wait
from mxdeliv_app.https.post import Https, NoHttpsError
from mxdeliv_app.https.target import Target
from mxdeliv_app.mxdeliv import peer_answer
from mxdeliv_app.mxdeliv.peer_answer import Proof
from mxdeliv_app.relay.domain_cache import DomainCache, store_may_fail

log = logging.getLogger(__name__)


class UnprovenError(Exception):
    """The host is, or may be, no chatmail server. `reason` is a slug, `words` its answer as it came."""

    def __init__(self, reason: str, words: str, *, disproven: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.words = words
        self.disproven = disproven


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Proofs:
    """Asks for proofs; one object serves all threads."""

    https: Https
    known: DomainCache
    now: Callable[[], datetime] = _now
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asked: dict[tuple[str, str], Future[None]] = field(default_factory=dict)

    def require(self, domain: str, target: Target, deadline: float) -> None:
        """Return once `target` has proved itself for `domain`, by `deadline` (monotonic).

        Raises `UnprovenError`, `NoHttpsError`, `ForbiddenAddressError`, to every message that waits alike.
        """
        key = (domain, target.key)
        if self._is_proven(key):
            return
        may_wait()
        with self._lock:
            asked = self._asked.get(key)
            if asked is None:
                mine = self._asked[key] = Future()
        if asked is None:
            try:
                # It may have been proven since: then the one that asked is no longer among those asked.
                if not self._is_proven(key):
                    self._ask(domain, target, deadline)
                mine.set_result(None)
            except BaseException as error:
                mine.set_exception(error)
                raise
            finally:
                with self._lock:
                    del self._asked[key]
            return
        try:
            asked.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise NoHttpsError("timeout") from None

    def _is_proven(self, key: tuple[str, str]) -> bool:
        return self.known.host(*key).proven(self.now())

    def _ask(self, domain: str, target: Target, deadline: float) -> None:
        answer = self.https.post(target, "", (), b"", deadline)
        found = peer_answer.proof(answer.status, answer.content_type, answer.body)
        log.info("event=proof domain=%s found=%s status=%d", domain, found.value, answer.status)
        if found is Proof.PROVEN:
            with store_may_fail():
                self.known.proved(domain, target.key, self.now())
            return
        if found is Proof.DISPROVEN:
            with store_may_fail():
                self.known.disproved(domain, target.key, self.now())
        words = f"{answer.status} {answer.body.decode(errors='replace')}"
        raise UnprovenError(f"http-{answer.status}", words, disproven=found is Proof.DISPROVEN)
