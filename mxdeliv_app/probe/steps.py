"""The steps of a probe by one road to one host: each with its time, its result, and a time limit.

A socket's timeout does not limit a step, because each octet restarts it, and TLS skips records without data.
So a thread shuts the connection down when a step exceeds its time, and the step fails.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

# Seconds for all roads and hosts of one probe. A peer that answers needs less than one.
WHOLE = 120.0
# Characters that are shown of what a peer said or named.
MOST_FOUND = 500


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


@dataclass(slots=True)
class Step:
    """One step. `seconds`: its duration. `found`: its result. `error`: why it failed, else empty."""

    name: str
    seconds: float = 0.0
    found: str = ""
    error: str = ""


@dataclass(slots=True)
class ProbeAttempt:
    """One road to one host. `code` and `reply`: the host's answer for the recipient, if any.

    `road`: `https` or `smtp`. `identity`: what the host is. `expected`: whether the answer shows that mail
    arrives by this road.
    """

    road: str
    host: str
    steps: list[Step] = field(default_factory=list)
    code: int | None = None
    reply: str = ""
    identity: str = ""
    expected: bool = False

    @contextmanager
    def step(self, name: str, failures: tuple[type[Exception], ...], limit: TimeLimit) -> Iterator[Step]:
        """Measures a step, within `limit`. The exceptions `failures`, of the peer, become `FailedError`."""
        step = Step(name)
        self.steps.append(step)
        ends: tuple[type[Exception], ...] = (*failures, TimeoutError)
        began = _clock()
        try:
            with limit.step():
                yield step
        except ends as error:
            step.error = step.error or described(error)
            raise FailedError from error
        finally:
            step.seconds = _clock() - began
            step.found, step.error = step.found[:MOST_FOUND], step.error[:MOST_FOUND]

    def split(self, step: Step, first: Step) -> None:
        """Splits `first`, which was measured within `step`, off as a step before it."""
        self.steps.insert(self.steps.index(step), first)
        step.seconds -= first.seconds

    @property
    def seconds(self) -> float:
        """The duration of all steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def error(self) -> str:
        """Why the attempt failed; empty if it did not."""
        return next((step.error for step in self.steps if step.error), "")


class FailedError(Exception):
    """The attempt failed; the last step in `ProbeAttempt.steps` has the reason."""


_clock: Callable[[], float] = time.perf_counter


def described(error: Exception) -> str:
    """An error as one line: its own text if it has one, else Python's name for it."""
    words = " ".join(str(error).split())
    return words or type(error).__name__
