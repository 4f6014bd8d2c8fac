"""One program in several processes that share what they had before: a listening socket, and shared memory.

Python runs one thread of a process at a time, and libmilter has a thread for each of Postfix's connections:
under load most of them would wait for their turn. The first process serves nobody, it waits for a signal or
for the end of one of the others, and ends all of them then; who starts it again is systemd's to know.
Where one process is enough, none is forked: each costs what it changes of the memory that it shared.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable
from typing import NoReturn

_ENDING = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


def prefork(number: int, serve: Callable[[], None], at_end: Callable[[], None]) -> int:
    """Runs `serve`, which never returns, in so many processes; the exit status, 0 if a signal ended it.

    Call before any other thread is started. On SIGTERM, SIGINT or SIGHUP a process calls
    `at_end` and exits at once, whatever it is doing.
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
    # Nobody reads or writes the pipe: its end is what tells, and that comes however this process ends.
    if signal.sigwait(_ENDING | {signal.SIGCHLD}) != signal.SIGCHLD:
        return os.EX_OK
    _, status = os.wait()
    # No process ends by itself unless something is wrong.
    code = os.waitstatus_to_exitcode(status)
    return code if code > 0 else os.EX_SOFTWARE


def _alone(serve: Callable[[], None], at_end: Callable[[], None]) -> NoReturn:
    """Serve in this process. It ends by `_exit`, as nothing stops a library's threads."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def run() -> None:
        status = os.EX_SOFTWARE
        try:
            serve()
        except SystemExit as ended:
            status = _status(ended)
        finally:
            os._exit(status)

    # Not in the main thread: libmilter waits for the same signals, and looks up to five seconds later. Of a
    # signal to the process the kernel tells the main thread first (complete_signal() of kernel/signal.c).
    threading.Thread(target=run, daemon=True).start()
    signal.sigwait(_ENDING)
    try:
        at_end()
    finally:
        os._exit(os.EX_OK)


def share_memory() -> None:
    """Before a fork: let the processes share what there is, for as long as they live.

    The garbage collector writes to each object that it looks at, and the kernel then copies the page for the
    process that wrote. It looks at none of those that are here now. https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.collect()
    gc.freeze()


def _run(alive: int, serve: Callable[[], None], at_end: Callable[[], None]) -> None:
    """One of the processes; it ends with the first one. Signals meant for all are left to that."""

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
    """One process for two processors, four at most: Postfix needs several times what we need of a message."""
    return max(1, min(4, len(os.sched_getaffinity(0)) // 2))
