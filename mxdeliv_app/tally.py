"""Counting what peers bring, per domain: the road `inbound` of `store.peers`.

A domain is what the envelope sender says. Only mail that was accepted has proved it (DKIM, in the milter);
refusals under a name that was never accepted before are counted together, or strangers could fill the store
with names.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.store.peers import Peers

NULL_SENDER = "<>"
UNPROVEN = "(unproven)"
_REFRESH_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Tally:
    """Counts inbound messages in the store; a store that is away costs a log line, never a message."""

    def __init__(self, peers: Peers, clock: Callable[[], float] = time.monotonic) -> None:
        self._peers = peers
        self._clock = clock
        self._proven = {NULL_SENDER}
        self._refreshed = float("-inf")

    def accepted(self, domain: str, seconds: float) -> None:
        """A message from `domain` (`""` is the null sender) was taken, in `seconds`."""
        self._proven.add(domain)
        self._record(domain or NULL_SENDER, ok=True, latency=seconds, reason=None)

    def refused(self, domain: str, reason: str) -> None:
        """A message from `domain` was refused; `reason` is a fixed slug."""
        name = domain or NULL_SENDER
        self._record(name if self._is_proven(name) else UNPROVEN, ok=False, latency=None, reason=reason)

    def _is_proven(self, name: str) -> bool:
        # Other workers learn names too, and one restarts knowing none.
        if name not in self._proven and self._clock() - self._refreshed > _REFRESH_SECONDS:
            self._refreshed = self._clock()
            try:
                self._proven |= {row.domain for row in self._peers.list() if row.road == "inbound"}
            except SQLAlchemyError as error:
                _log.warning("event=tally-failed error=%s", type(error).__name__)
        return name in self._proven

    def _record(self, domain: str, *, ok: bool, latency: float | None, reason: str | None) -> None:
        try:
            self._peers.record(domain, "inbound", ok=ok, latency=latency, reason=reason, at=datetime.now(UTC))
        except SQLAlchemyError as error:
            _log.warning("event=tally-failed error=%s", type(error).__name__)
