"""A timer that runs out when a test says so: no test depends on how fast the machine is."""

from __future__ import annotations

import queue
import threading
from typing import ClassVar

_NEVER = 600.0  # seconds, which no test comes near


class ToldTimer(threading.Timer):
    """In place of `threading.Timer`, by which a look or a step ends."""

    begun: ClassVar[queue.SimpleQueue[ToldTimer]]

    def start(self) -> None:
        self.begun.put(self)

    def cancel(self) -> None:
        """It never runs by itself."""

    @classmethod
    def forget(cls) -> None:
        """Before a test: none has begun."""
        cls.begun = queue.SimpleQueue()

    @classmethod
    def run_out(cls) -> None:
        """Ends what began last."""
        last = cls.begun.get(timeout=_NEVER)
        while not cls.begun.empty():
            last = cls.begun.get()
        last.function(*last.args)
