"""Copies mailboxes and the store to a backup while the relay runs, and back while it is stopped.

The store is copied if it is SQLite's; database servers have tools of their own. Mailboxes are copied by
doveadm: doveadm-sync(1) keeps UIDs and UIDVALIDITY, so that clients notice no change. Root never
writes in directories of the mailboxes' user, because a process of that user could replace any file by a link;
the copy there runs as that user.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import chdir, closing
from pathlib import Path

from chatmail_milter.backup.directory import BackupError
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError
from chatmail_milter.mailboxes.home import as_owner, home

_DIRECTORY = "Maildir"  # of mail_location in dovecot.conf


def copy_mail(
    doveadm: Doveadm, root: Path, users: Sequence[str], to: Path, failed: Callable[[DoveadmError], None]
) -> int:
    """Updates the copies in `to` of the mailboxes of `users`, which are below `root`; returns their number.

    Copies of other users are removed, so that a deleted account does not stay in a backup. `failed`: called
    for each mailbox that can't be read. Raises `OSError`.
    """
    wanted = {user.rpartition("@")[0]: user for user in users}
    with as_owner(root):
        for one in to.iterdir():
            if one.is_symlink() or not one.is_dir():
                one.unlink()
            elif one.name not in wanted:
                shutil.rmtree(one)
    number = 0
    for local_part, user in wanted.items():
        there = home(root, user)
        if there is None or not (there / _DIRECTORY).is_dir():
            continue
        place = to / local_part
        with as_owner(root):
            place.mkdir(mode=0o700, exist_ok=True)
        try:
            doveadm.back_up(user, place / _DIRECTORY)
            number += 1
        except DoveadmError as error:
            failed(error)
    return number


def restore_mail(backup: Path, root: Path, domain: str) -> list[str]:
    """Put every mailbox of a backup below `root`. Returns their users. Raises `BackupError`, `OSError`."""
    users = []
    # The mailboxes' user need not be able to come to `backup`, which may be below /root.
    with chdir(backup), as_owner(root):
        if not os.access(".", os.R_OK | os.X_OK, effective_ids=True):
            raise BackupError(f"give {backup} and all in it to the owner of {root} first, with chown -R")
        for one in sorted(Path().iterdir()):
            user = f"{one.name}@{domain}"
            place = home(root, user)
            # A link would bring other mail, or none, into a mailbox.
            if place is None or one.is_symlink() or (one / _DIRECTORY).is_symlink():
                continue
            if not (one / _DIRECTORY).is_dir():
                continue
            for made in (place.parent, place):
                made.mkdir(mode=0o700, exist_ok=True)
            # Times too: a message's is when it came (IMAP's INTERNALDATE).
            shutil.copytree(one / _DIRECTORY, place / _DIRECTORY, symlinks=True)
            users.append(user)
    return users


def copy_store(store: Path, to: Path) -> None:
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


def restore_store(backup: Path, store: Path) -> None:
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
