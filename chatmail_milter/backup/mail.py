"""Copies mailboxes to a backup, by doveadm while clients use them, and back, while Dovecot is stopped.

doveadm-sync(1) keeps UIDs and UIDVALIDITY, so that clients notice no change. In
directories of the mailboxes' user only that user writes, never root: one of its processes could put a link in
the place of any file at any moment.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import chdir
from pathlib import Path

from chatmail_milter.backup.directory import BackupError
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError
from chatmail_milter.mailboxes.home import as_owner, home

_DIRECTORY = "Maildir"  # of mail_location in dovecot.conf


def copy_out(
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


def copy_in(backup: Path, root: Path, domain: str) -> int:
    """Put every mailbox of a backup below `root`; how many. Raises `BackupError`, `OSError`."""
    number = 0
    # The mailboxes' user need not be able to come to `backup`, which may be below /root.
    with chdir(backup), as_owner(root):
        if not os.access(".", os.R_OK | os.X_OK, effective_ids=True):
            raise BackupError(f"give {backup} and all in it to the owner of {root} first, with chown -R")
        for one in sorted(Path().iterdir()):
            place = home(root, f"{one.name}@{domain}")
            # A link would bring other mail, or none, into a mailbox.
            if place is None or one.is_symlink() or (one / _DIRECTORY).is_symlink():
                continue
            if not (one / _DIRECTORY).is_dir():
                continue
            for made in (place.parent, place):
                made.mkdir(mode=0o700, exist_ok=True)
            # Times too: a message's is when it came (IMAP's INTERNALDATE).
            shutil.copytree(one / _DIRECTORY, place / _DIRECTORY, symlinks=True)
            number += 1
    return number
