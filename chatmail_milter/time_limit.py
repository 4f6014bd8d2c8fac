"""Limits the time of steps that talk over one connection, whatever the other side sends.

A socket's timeout does not limit a step, because each octet restarts it, and TLS skips records without data.
So a thread shuts the connection down when a step exceeds its time, and the step fails.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class TimeLimit:
    """Limits: seconds for `each` step and the `whole`. Guards one connection at a time.

    `what` took too long, in the words of the error.
    """

    def __init__(
        self,
        each: float,
        whole: float,
        timer: Callable[..., threading.Timer] = threading.Timer,
        what: str = "it",
    ) -> None:
        self._each = each
        self._whole = whole
        self._timer = timer
        self._what = what
        self._end = time.monotonic() + whole
        self._guarded: socket.socket | None = None
        self._late = threading.Event()

    @property
    def left(self) -> float:
        """Seconds left for the whole, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def guard(self, connection: socket.socket) -> None:
        """Shuts `connection` down if a step exceeds its time. Raises `TimeoutError` if this one has."""
        self.release()
        # TLS takes the socket over, and closes it; a second descriptor still ends the connection.
        self._guarded = connection.dup()
        if self._late.is_set():
            raise TimeoutError(self._over())

    def release(self) -> None:
        """Guards no connection any more."""
        guarded, self._guarded = self._guarded, None
        if guarded is not None:
            guarded.close()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Context of a step. Raises `TimeoutError` if it exceeded its time."""
        seconds = min(self._each, self.left)
        if not seconds:
            raise TimeoutError(self._over())
        late = self._late = threading.Event()
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
        return f"{self._what} took longer than {self._whole:g} s"

    def _end_connection(self, late: threading.Event) -> None:
        late.set()
        guarded = self._guarded
        if guarded is not None:
            with suppress(OSError):  # closed meanwhile, by the peer or its own thread
                guarded.shutdown(socket.SHUT_RDWR)
