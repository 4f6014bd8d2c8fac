"""Counts on their way to the store, written together: a message then costs no commit of its own.

A crash loses what was counted since the last flush, which is half a second at most.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from sqlalchemy.exc import OperationalError

from chatmail_milter.store.peers import Contact, Peers

# While the store is away, the newest are kept; an hour of a busy relay fits.
_KEPT = 100_000

log = logging.getLogger(__name__)


class Ledger:
    """Attempts over HTTPS, counted; safe for threads."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._lock = threading.Lock()
        self._contacts: list[Contact] = []

    def https(self, domain: str, *, latency: float | None = None, reason: str | None = None) -> None:
        """Count one attempt: a success of `latency` seconds, or a failure for `reason`."""
        contact = Contact(domain, "https", reason is None, latency, reason, datetime.now(UTC))
        with self._lock:
            self._contacts.append(contact)

    def flush(self) -> None:
        """Write what was counted."""
        with self._lock:
            contacts, self._contacts = self._contacts, []
        if not contacts:
            return
        try:
            self._peers.add(contacts)
        except OperationalError as error:
            log.error("event=counts-kept-back error=%s", type(error.orig).__name__)
            with self._lock:
                self._contacts = (contacts + self._contacts)[-_KEPT:]
