"""The steps of a probe by one road to one host: each with its time, its result, and a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chatmail_milter.time_limit import TimeLimit

# Seconds for all roads and hosts of one probe. A peer that answers needs less than one.
WHOLE = 120.0
# Characters that are shown of what a peer said or named.
MOST_FOUND = 500


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
