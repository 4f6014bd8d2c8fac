"""A byte array of fixed size in a tmpfs file, shared by the workers of several programs, and its lock.

Accessed by pread(2) and pwrite(2), not mmap(2): if another program truncated a mapped file, an access would
raise SIGBUS. Missing octets read as zeros. The file begins with a header of the layout's name and a random
hash key. A table with another layout, from another version of the program, is cleared. The kernel releases
the lock if its holder is killed.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from hashlib import blake2b
from pathlib import Path


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


# Name of the layout, hash key.
_HEADER = struct.Struct("32s32s")


class SharedTable:
    """Slices are read and assigned as with `mmap.mmap`; hold `lock` while doing so.

    `path`: an existing file. `layout`: name of the layout, at most 32 octets. `size`: in octets. Raises
    `OSError`.
    """

    def __init__(self, path: Path, layout: str, size: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._layout = layout.encode().ljust(32)
        self._size = size
        self.lock = ProcessLock(self._file)

    def __getitem__(self, octets: slice) -> bytes:
        """The octets of a slice, which must have a start and a stop."""
        number = octets.stop - octets.start
        return os.pread(self._file, number, _HEADER.size + octets.start).ljust(number, b"\0")

    def __setitem__(self, octets: slice, value: bytes) -> None:
        """Writes `value` at the start of a slice."""
        os.pwrite(self._file, value, _HEADER.size + octets.start)

    def mark(self, text: str) -> int:
        """A keyed hash of `text`: 64 bits, signed. All programs that share the table use the same key."""
        digest = blake2b(text.encode(), key=self._key(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    def _key(self) -> bytes:
        # Read each time: another program may have cleared the file, and all must use the same key.
        header = os.pread(self._file, _HEADER.size, 0)
        if len(header) == _HEADER.size and header.startswith(self._layout):
            return header[len(self._layout) :]
        # Overwritten, not truncated: a program of an earlier version may have it mapped. If two programs do
        # this at once, both use the key of the second from then on.
        key = os.urandom(32)
        filled = min(os.fstat(self._file).st_size, _HEADER.size + self._size)
        os.pwrite(self._file, _HEADER.pack(self._layout, key).ljust(filled, b"\0"), 0)
        return key
