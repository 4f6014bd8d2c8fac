"""Waiting for a condition with a deadline. Never for a time."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

from tests.chat.deadline import PATIENCE
from tests.lab.errors import LabError

PAUSE = 0.05  # seconds between two looks
T = TypeVar("T")


def until(look: Callable[[], T | None], deadline: float, otherwise: str) -> T:
    """What `look` returns once that is true; LabError(`otherwise`) when it is late.

    `deadline` are seconds where little else runs; on a busy machine it may be `PATIENCE` times as long.
    """
    end = time.monotonic() + deadline * PATIENCE
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise LabError(otherwise)
        time.sleep(PAUSE)


def greeting(address: str, port: int) -> bytes | None:
    """The first bytes that a server says, None when it isn't there or says nothing."""
    try:
        with socket.create_connection((address, port), timeout=1) as connection:
            return connection.recv(256) or None
    except OSError:
        return None
