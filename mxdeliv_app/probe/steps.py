"""What a probe found, as values: the steps of one road to one host, each with its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mxdeliv_app.probe.time_limit import TimeLimit

# Characters that are shown of what a peer said or named.
MOST_FOUND = 500


@dataclass(slots=True)
class Step:
    """One step. `seconds` is how long it took, `found` what came of it, `error` why it failed, else empty."""

    name: str
    seconds: float = 0.0
    found: str = ""
    error: str = ""


@dataclass(slots=True)
class ProbeAttempt:
    """One road to one host. `code` and `reply` are its answer for the recipient, where it gave one.

    `road`: `https` or `smtp`. `identity`: what the host is. `expected`: whether that answer shows that mail
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
        """Time a step, within `limit`. `failures`, the peer's doing, end it: `FailedError`."""
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
        """Count `first`, which was timed within `step`, before it and apart from it."""
        self.steps.insert(self.steps.index(step), first)
        step.seconds -= first.seconds

    @property
    def seconds(self) -> float:
        """All steps together."""
        return sum(step.seconds for step in self.steps)

    @property
    def error(self) -> str:
        """Why the attempt ended early, empty where it did not."""
        return next((step.error for step in self.steps if step.error), "")


class FailedError(Exception):
    """The attempt is over; the last step of `ProbeAttempt.steps` says why."""


_clock: Callable[[], float] = time.perf_counter


def described(error: Exception) -> str:
    """An error in one line, without Python's names for it where it has words of its own."""
    words = " ".join(str(error).split())
    return words or type(error).__name__
