"""One program in several processes that share what they had before: a listening socket, and shared memory.

Python runs one thread of a process at a time, and libmilter has a thread for each of Postfix's connections:
under load most of them would wait for their turn. The first process serves nobody, it waits for a signal or
for the end of one of the others, and ends all of them then; who starts it again is systemd's to know.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

_ENDING = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


def several(number: int, serve: Callable[[], None], at_end: Callable[[], None]) -> int:
    """Runs `serve`, which never returns, in so many processes; the exit status, 0 if a signal ended it.

    Call before any other thread is started. On SIGTERM, SIGINT or SIGHUP a process calls
    `at_end` and exits at once, whatever it is doing.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING | {signal.SIGCHLD})
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
        status = ended.code if isinstance(ended.code, int) else status
    finally:
        os._exit(status)


def wanted() -> int:
    """As many processes as this one may use processors, four at most: Postfix and the disk need some too."""
    return min(4, len(os.sched_getaffinity(0)))
