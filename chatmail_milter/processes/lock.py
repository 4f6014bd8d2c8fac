"""A lock across threads and processes, which the kernel releases if its holder is killed."""

from __future__ import annotations

import fcntl
import os
import threading


class ProcessLock:
    """A context manager. Create it before the fork, or pass a descriptor of one `file` in each program."""

    def __init__(self, file: int | None = None) -> None:
        # A record lock (fcntl(2)) belongs to the process and ends with it, but does not exclude its own
        # threads.
        self._file = os.memfd_create("lock") if file is None else file
        self._threads = threading.Lock()

    def __enter__(self) -> None:
        self._threads.acquire()
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._threads.release()
