"""Progress on the console, and a clean end on SIGTERM as on Ctrl-C, for the programs that use the lab."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from time import monotonic
from types import FrameType

from rich.console import Console


class Interrupted(BaseException):
    """SIGTERM arrived: clean up as after Ctrl-C."""


def console_for(*, as_json: bool, width: int = 160) -> Console:
    """A console on standard error if standard output gets JSON. `width`: in columns, without a terminal."""
    return Console(stderr=as_json, highlight=False, width=None if sys.stdout.isatty() else width)


def progress(console: Console) -> Callable[[str], None]:
    """A function that prints a line of rich markup with the seconds since this call."""
    began = monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{monotonic() - began:6.1f} s[/]  {text}", soft_wrap=True)

    return say


def interrupt_on_sigterm() -> None:
    """Has SIGTERM raise `Interrupted` in the main thread."""
    signal.signal(signal.SIGTERM, _interrupt)


def finish_undisturbed() -> None:
    """Ignores Ctrl-C from now on: a second one must not leave half a lab."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise Interrupted
