"""Octets of fixed size that all workers of several programs share: a file in memory (tmpfs).

It is read and written in place (pread(2), pwrite(2)) and not mapped: where another program truncates a file,
whoever has it mapped ends by SIGBUS. What is missing reads as zeros. A header has the table's layout and a
key for hashes, made with the table. A table of another layout, as of an earlier version, is emptied.
"""

from __future__ import annotations

import os
import struct
from hashlib import blake2b
from pathlib import Path

from chatmail_milter.processes.lock import ProcessLock

# Layout and key.
_HEADER = struct.Struct("32s32s")


class SharedTable:
    """Slices of it are read and assigned as those of `mmap.mmap`; between processes only under `lock`.

    `layout` names what is at which place, in at most 32 octets; `size` is the number of octets.
    """

    def __init__(self, path: Path, layout: str, size: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._layout = layout.encode().ljust(32)
        self._size = size
        self.lock = ProcessLock(self._file)

    def __getitem__(self, octets: slice) -> bytes:
        """The octets of a slice with a beginning and an end."""
        number = octets.stop - octets.start
        return os.pread(self._file, number, _HEADER.size + octets.start).ljust(number, b"\0")

    def __setitem__(self, octets: slice, value: bytes) -> None:
        """Write at the beginning of a slice."""
        os.pwrite(self._file, value, _HEADER.size + octets.start)

    def mark(self, text: str) -> int:
        """A hash of 64 bits, signed, under the table's key."""
        digest = blake2b(text.encode(), key=self._key(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    def _key(self) -> bytes:
        # Read each time: another program may have emptied the file, and all have to use one key.
        header = os.pread(self._file, _HEADER.size, 0)
        if len(header) == _HEADER.size and header.startswith(self._layout):
            return header[len(self._layout) :]
        # Not truncated: a program of an earlier version may have it mapped. Of two that do this at once, the
        # key of the second is used by both from then on.
        key = os.urandom(32)
        filled = min(os.fstat(self._file).st_size, _HEADER.size + self._size)
        os.pwrite(self._file, _HEADER.pack(self._layout, key).ljust(filled, b"\0"), 0)
        return key
