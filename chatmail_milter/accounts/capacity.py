"""Compares a machine's load, memory and disk with the limits for creating another account. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatmail_milter.config import LimitSettings

Shortage = Literal["load", "memory", "disk"]


@dataclass(frozen=True, slots=True)
class Machine:
    """State of a machine. `load`: load average per processor. `memory`, `disk`: available octets."""

    load: float
    memory: int
    disk: int


def shortage(limits: LimitSettings, machine: Machine) -> Shortage | None:
    """The resource that is beyond its limit; None if another account may be created."""
    if limits.load and machine.load > limits.load:
        return "load"
    if machine.memory < limits.memory:
        return "memory"
    return "disk" if machine.disk < limits.disk else None
