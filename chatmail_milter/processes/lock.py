"""A lock for all threads of all forked processes, which a process that is killed does not keep."""

from __future__ import annotations

import fcntl
import os
import threading


class ProcessLock:
    """A context manager. Make it before the processes are forked; others share the `file` (a descriptor)."""

    def __init__(self, file: int | None = None) -> None:
        # A record lock (fcntl(2)) belongs to the process and ends with it; among its threads it is none.
        self._file = os.memfd_create("lock") if file is None else file
        self._threads = threading.Lock()

    def __enter__(self) -> None:
        self._threads.acquire()
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._threads.release()
