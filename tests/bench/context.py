"""What a benchmark gets: a function that prints its progress, and the lab, which boots at the first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from tests.lab import Lab


class BenchContext:
    """The context of one run of benchmarks. `say`: prints a line about the progress."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._ours = False

    @cached_property
    def lab(self) -> Lab:
        """The lab with both relays deployed from this tree."""
        lab = Lab()
        self._ours = any(host.state != "up" for host in lab.status())
        lab.up(self.say)
        self.say("the playbook deploys both relays")
        lab.deploy(self.say)
        return lab

    def close(self) -> None:
        """Takes the lab down if this run booted it."""
        if self._ours:
            self.say("taking the lab down")
            Lab().down(self.say)
