"""Whether there is room for another account: what is left of a machine, beside the limits for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatmail_milter.config import LimitSettings

Shortage = Literal["load", "memory", "disk"]


@dataclass(frozen=True, slots=True)
class Machine:
    """One look at a machine: load average for each processor, octets of memory and of disk to be had."""

    load: float
    memory: int
    disk: int


def shortage(limits: LimitSettings, machine: Machine) -> Shortage | None:
    """What `machine` is short of; None if there is room for another account."""
    if limits.load and machine.load > limits.load:
        return "load"
    if machine.memory < limits.memory:
        return "memory"
    return "disk" if machine.disk < limits.disk else None
