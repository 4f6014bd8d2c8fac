"""The store into a backup and out of it: SQLite's, as one consistent file. A server has its own means."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path


def copy_out(store: Path, to: Path) -> None:
    """Copy a store that is in use, with all that is committed and nothing half. https://sqlite.org/backup.html"""
    new = to.with_name(f"{to.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    with (
        closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(new)) as target,
    ):
        source.backup(target)
        # Else it would have files beside it as soon as it is opened.
        target.execute("PRAGMA journal_mode = DELETE")
    new.replace(to)


def copy_in(backup: Path, store: Path) -> None:
    """Put the store of a backup in the place of one that nobody has open, with its owner and mode."""
    new = store.with_name(f"{store.name}.restored")
    shutil.copyfile(backup, new)
    there = store.stat()
    os.chown(new, there.st_uid, there.st_gid)
    new.chmod(there.st_mode & 0o777)
    for beside in ("-wal", "-shm"):
        store.with_name(f"{store.name}{beside}").unlink(missing_ok=True)
    new.replace(store)
