"""An event that SIGTERM and SIGINT set, for programs on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal


def requested() -> asyncio.Event:
    """The event, of the running loop. A signal that comes after the loop has ended does nothing.

    (asyncio's own handlers end with the loop. A second SIGTERM then kills a program that writes its last.)
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return stop
