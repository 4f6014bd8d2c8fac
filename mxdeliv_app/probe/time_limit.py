"""Time limits of a probe, for each step and in total.

A socket's timeout does not limit a step, because each octet restarts it, and TLS skips records without data.
So a thread shuts the connection down when a step exceeds its time, and the step fails.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Seconds for all roads and hosts of one probe. A peer that answers needs less than one.
WHOLE = 120.0


class TimeLimit:
    """The limits of one probe: seconds for `each` step and the `whole`. Guards one connection at a time."""

    def __init__(
        self, each: float, whole: float = WHOLE, timer: Callable[..., threading.Timer] = threading.Timer
    ) -> None:
        self._each = each
        self._whole = whole
        self._timer = timer
        self._end = time.monotonic() + whole
        self._guarded: socket.socket | None = None

    @property
    def left(self) -> float:
        """Seconds left for the probe, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def guard(self, connection: socket.socket) -> None:
        """From now on, shuts `connection` down if a step exceeds its time."""
        self.release()
        # TLS takes the socket over, and closes it; a second descriptor still ends the connection.
        self._guarded = connection.dup()

    def release(self) -> None:
        """Guards no connection any more."""
        guarded, self._guarded = self._guarded, None
        if guarded is not None:
            guarded.close()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Context of a step. Raises `TimeoutError` if it exceeded its time."""
        seconds = min(self._each, self.left)
        if not self.left:
            raise TimeoutError(self._over())
        late = threading.Event()
        timer = self._timer(seconds, self._end_connection, (late,))
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if late.is_set():
                raise TimeoutError(self._over()) from error
            raise
        finally:
            timer.cancel()
        if late.is_set():
            # What came may look whole, as a body without a length does.
            raise TimeoutError(self._over())

    def _over(self) -> str:
        if self.left:
            return f"it took longer than {self._each:g} s"
        return f"the probe took longer than {self._whole:g} s"

    def _end_connection(self, late: threading.Event) -> None:
        late.set()
        guarded = self._guarded
        if guarded is not None:
            with suppress(OSError):  # closed meanwhile, by the peer or its own thread
                guarded.shutdown(socket.SHUT_RDWR)
