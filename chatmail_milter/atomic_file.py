"""Replaces a file at once: a reader sees the old text or the new one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replaced(file: Path) -> Iterator[IO[bytes]]:
    """A new file, which replaces `file` when the block ends; nothing is left of it if the block raises.

    Only its owner can read it, unless the block says otherwise. Raises `OSError`.
    """
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        try:
            yield new
            new.flush()
            os.replace(new.name, file)
        except BaseException:
            os.unlink(new.name)
            raise
