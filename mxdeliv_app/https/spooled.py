"""Keeps a large message in a file without a name, so that it takes no memory while a peer receives it.

The kernel may keep the file in its cache, and drops it there when memory is short.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

# systemd gives the service one of its own (PrivateTmp=). Not /tmp, which may be in memory.
_DIRECTORY = "/var/tmp"  # noqa: S108
_READ = 1 << 17


class SpooledOctets:
    """Octets in a file, which ends with the object. Reading is thread-safe once all is appended."""

    def __init__(self) -> None:
        """Raises `OSError`, as all methods do."""
        self._file = tempfile.TemporaryFile(dir=_DIRECTORY, buffering=0)  # noqa: SIM115  (outlives this call)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, octets: bytes) -> None:
        """Writes octets at the end."""
        view = memoryview(octets)
        while view:
            written = self._file.write(view)
            self._size += written
            view = view[written:]

    def slices(self, size: int = _READ) -> Iterator[bytes]:
        """All octets, in slices of at most `size`."""
        at = 0
        while at < self._size:
            piece = os.pread(self._file.fileno(), size, at)
            if not piece:
                raise OSError("the file of a message is too short")
            at += len(piece)
            yield piece


# A message, or what is sent of it.
Octets = bytes | SpooledOctets
