"""Backs up and restores the store in SQLite, as one consistent file. Database servers have own tools."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path


def copy_out(store: Path, to: Path) -> None:
    """Copies a store in use, with all committed transactions. https://sqlite.org/backup.html"""
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
    """Replaces the store, which no program may have open, by that of a backup. Keeps owner and mode."""
    new = store.with_name(f"{store.name}.restored")
    there = store.stat()
    # Our programs can write to this directory: no link that one of them has put there is followed.
    new.unlink(missing_ok=True)
    target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with backup.open("rb") as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file)
        os.fchown(target, there.st_uid, there.st_gid)
        os.fchmod(target, there.st_mode & 0o777)
    for beside in ("-wal", "-shm"):
        store.with_name(f"{store.name}{beside}").unlink(missing_ok=True)
    new.replace(store)
