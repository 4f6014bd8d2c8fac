"""Waiting for a condition with a deadline. Never for a time."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeVar

from tests.chat.deadline import polled
from tests.lab.errors import LabError

PAUSE = 0.05  # seconds between two looks
T = TypeVar("T")


def until(look: Callable[[], T | None], deadline: float, otherwise: str) -> T:
    """What `look` returns once that is true; LabError(`otherwise`) when it is late.

    `deadline` are seconds where little else runs; on a busy machine it may be `PATIENCE` times as long.
    """
    found = polled(look, deadline, PAUSE)
    if found is None:
        raise LabError(otherwise)
    return found


def greeting(address: str, port: int) -> bytes | None:
    """The first bytes that a server says, None when it isn't there or says nothing."""
    try:
        with socket.create_connection((address, port), timeout=1) as connection:
            return connection.recv(256) or None
    except OSError:
        return None
