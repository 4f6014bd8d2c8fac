"""Tests whether a host is a chatmail server, once for all messages that wait for the result.

The test is a POST without recipients, which every `/mxdeliv` refuses. So an ordinary web server, which may
accept every POST, gets no message. The test costs one round trip, because the connection is kept for the
message. Results are in the store (`store.endpoint_hosts`) and expire there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mxdeliv_app.https.connection import Target
from mxdeliv_app.https.event_loop import may_wait
from mxdeliv_app.https.post import HttpsPool, NoHttpsError
from mxdeliv_app.mxdeliv import peer_answer
from mxdeliv_app.mxdeliv.peer_answer import Proof
from mxdeliv_app.relay.domain_cache import DomainCache, store_may_fail

log = logging.getLogger(__name__)


class UnprovenError(Exception):
    """The host is not, or may not be, a chatmail server. `reason`: a slug. `words`: the unchanged answer."""

    def __init__(self, reason: str, words: str, *, disproven: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.words = words
        self.disproven = disproven


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Proofs:
    """Makes the tests. Thread-safe."""

    https: HttpsPool
    known: DomainCache
    now: Callable[[], datetime] = _now
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asked: dict[tuple[str, str], Future[None]] = field(default_factory=dict)

    def require(self, domain: str, target: Target, deadline: float) -> None:
        """Returns when `target` has proved itself for `domain`, at most until `deadline` (monotonic).

        Raises `UnprovenError`, `NoHttpsError` or `ForbiddenAddressError`, for each message that waits.
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
