"""An asyncio event that SIGTERM and SIGINT set."""

from __future__ import annotations

import asyncio
import contextlib
import signal


def requested() -> asyncio.Event:
    """An event of the running loop, set by SIGTERM and SIGINT. Signals after the loop has ended are ignored.

    (asyncio's own handlers are removed with the loop. A second SIGTERM would then kill a program that is
    still writing its state.)
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return stop
