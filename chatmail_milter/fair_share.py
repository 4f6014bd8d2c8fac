"""Shares a limited resource among clients, so that none takes what the others need.

A client may take more while it has less than twice the free amount. One alone gets up to two thirds, each of
two gets two fifths, and some is always free for another. (Choudhury and Hahne, "Dynamic queue length
thresholds for shared-memory packet switches", 1998.)
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

# A client may take no more when it has this many times what is free.
_SHARE = 2


class BusyError(Exception):
    """The client's share, or the whole, is in use: it is refused temporarily, or waits."""


class FairShare:
    """A resource of `size` units, shared as the module's docstring says. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """The units that are free."""
        return self._free

    @contextlib.contextmanager
    def taken(self, client: str, amount: int) -> Iterator[None]:
        """Takes `amount` units while the block runs. Raises `BusyError` if the client may not have them."""
        with self._lock:
            # As if units were taken one by one: tests the condition for the last one.
            before = amount - 1
            if amount and self._taken[client] + before >= _SHARE * (self._free - before):
                raise BusyError
            self._free -= amount
            self._taken[client] += amount
        try:
            yield
        finally:
            with self._lock:
                self._free += amount
                self._taken[client] -= amount
                # Keeps the table small, and no client in memory that has nothing.
                if not self._taken[client]:
                    del self._taken[client]
