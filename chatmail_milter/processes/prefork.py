"""Runs a program in several worker processes, which share a listening socket and memory.

Python runs one thread of a process at a time, and libmilter uses a thread per connection, so under load one
process would be the bottleneck. The parent serves nothing: it waits for a signal or for the end of a worker,
and then ends all workers; systemd restarts the program. With one worker nothing is forked, which saves
memory. Programs on asyncio have one process, and stop by `stop_requested`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable
from typing import NoReturn

_ENDING = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


def prefork(number: int, serve: Callable[[], None], at_end: Callable[[], None]) -> int:
    """Runs `serve`, which must not return, in `number` processes. Returns the exit status, 0 after a signal.

    Call before any other thread is started. On SIGTERM, SIGINT or SIGHUP each process calls `at_end` and
    exits at once, even while `serve` is busy; the parent exits last.
    """
    if number == 1:
        return _alone(serve, at_end)
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING | {signal.SIGCHLD})
    share_memory()
    alive, held = os.pipe()
    for _ in range(number):
        if not os.fork():
            os.close(held)
            _run(alive, serve, at_end)
    os.close(alive)
    # Nothing is written to the pipe. Workers read end-of-file when this process ends, in whatever way.
    status = os.EX_OK
    while signal.sigwait(_ENDING | {signal.SIGCHLD}) == signal.SIGCHLD:
        worker, ended = os.waitpid(-1, os.WNOHANG)
        # Otherwise a worker was stopped or continued (SIGSTOP, SIGCONT).
        if worker:
            # It ended by itself, which is always a fault.
            number -= 1
            status = max(os.waitstatus_to_exitcode(ended), 0) or os.EX_SOFTWARE
            break
    os.close(held)
    # `at_end` may write to the store: whoever waited for this process finds the store as it stays.
    for _ in range(number):
        os.wait()
    return status


def _alone(serve: Callable[[], None], at_end: Callable[[], None]) -> NoReturn:
    """Serves in this process. Ends by `_exit`, because a library's threads can't be stopped."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def run() -> None:
        status = os.EX_SOFTWARE
        try:
            serve()
        except SystemExit as ended:
            status = _status(ended)
        finally:
            os._exit(status)

    # Not in the main thread: libmilter waits for the same signals and reacts up to five seconds late. The
    # kernel prefers the main thread for a signal to the process (complete_signal() in kernel/signal.c).
    threading.Thread(target=run, daemon=True).start()
    signal.sigwait(_ENDING)
    try:
        at_end()
    finally:
        os._exit(os.EX_OK)


def share_memory() -> None:
    """Keeps memory shared after a fork, by exempting all present objects from garbage collection.

    The collector writes to each object that it visits, and the kernel then copies that page for the process.
    https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.collect()
    gc.freeze()


def _run(alive: int, serve: Callable[[], None], at_end: Callable[[], None]) -> None:
    """Serves in a worker, until the parent ends. The parent handles the signals (they are blocked here)."""

    def end() -> None:
        os.read(alive, 1)
        try:
            at_end()
        finally:
            os._exit(os.EX_OK)

    status = os.EX_SOFTWARE
    try:
        threading.Thread(target=end, daemon=True).start()
        serve()
    except SystemExit as ended:
        status = _status(ended)
    finally:
        os._exit(status)


def _status(ended: SystemExit) -> int:
    return ended.code if isinstance(ended.code, int) else os.EX_SOFTWARE


def default_workers() -> int:
    """One worker per two processors, at most four: Postfix and Dovecot use several times our CPU."""
    return max(1, min(4, len(os.sched_getaffinity(0)) // 2))


def stop_requested() -> asyncio.Event:
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
