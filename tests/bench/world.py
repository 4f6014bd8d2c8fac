"""What a bench is given: a way to say what it does, and the lab, brought up for the first who asks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from tests.lab import Lab


class World:
    """Of one run."""

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
        """Take the lab down if it was put up for this run."""
        if self._ours:
            self.say("taking the lab down")
            Lab().down(self.say)
