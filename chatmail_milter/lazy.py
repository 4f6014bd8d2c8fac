"""What is opened when first asked for: a program serves, and says "later", before its store is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def once(opened: Callable[[], _T]) -> Callable[[], _T]:
    """`opened`, called at the first question, and at each further one as long as it raises."""
    found: list[_T] = []
    lock = threading.Lock()

    def ask() -> _T:
        if not found:
            with lock:
                if not found:
                    found.append(opened())
        return found[0]

    return ask
