"""Lazy, thread-safe initialisation, retried until it succeeds: a daemon can start before its database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def once(opened: Callable[[], _T]) -> Callable[[], _T]:
    """A function that calls `opened` once and caches the result; if it raises, the next call tries again."""
    found: list[_T] = []
    lock = threading.Lock()

    def ask() -> _T:
        if not found:
            with lock:
                if not found:
                    found.append(opened())
        return found[0]

    return ask
