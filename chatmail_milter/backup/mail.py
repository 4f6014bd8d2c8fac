"""Copies mailboxes into a backup, by doveadm while clients use them, and back, while Dovecot is stopped.

doveadm-sync(1) keeps UIDs and UIDVALIDITY, so that to clients a restored mailbox is the one they know.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError
from chatmail_milter.mailboxes.home import home

_DIRECTORY = "Maildir"  # of mail_location in dovecot.conf


def copy_out(
    doveadm: Doveadm, root: Path, users: Sequence[str], to: Path, failed: Callable[[DoveadmError], None]
) -> int:
    """Bring the mailboxes of `users`, which are below `root`, up to date in `to`; how many are there then.

    What is there of other users is removed: an account that was deleted is not to live on in a backup.
    `failed` hears of each mailbox that could not be read. Raises `OSError`.
    """
    owner = root.stat()
    wanted = {user.rpartition("@")[0]: user for user in users}
    for one in to.iterdir():
        # `to` is the mailboxes' user's, and root follows no link that it may have put there.
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
        place.mkdir(mode=0o700, exist_ok=True)
        os.chown(place, owner.st_uid, owner.st_gid, follow_symlinks=False)
        try:
            doveadm.back_up(user, place / _DIRECTORY)
            number += 1
        except DoveadmError as error:
            failed(error)
    return number


def copy_in(backup: Path, root: Path, domain: str) -> int:
    """Put every mailbox of a backup below `root`, for its owner; how many. Raises `OSError`."""
    owner = root.stat()
    number = 0
    for one in sorted(backup.iterdir()):
        place = home(root, f"{one.name}@{domain}")
        # A link would bring what root alone can read into a mailbox.
        if place is None or one.is_symlink() or (one / _DIRECTORY).is_symlink():
            continue
        if not (one / _DIRECTORY).is_dir():
            continue
        for made in (place.parent, place):
            made.mkdir(mode=0o700, exist_ok=True)
        # Times too: a message's is when it came (IMAP's INTERNALDATE).
        shutil.copytree(one / _DIRECTORY, place / _DIRECTORY, symlinks=True)
        for made in (place.parent, place):
            os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)
        for directory, _, names in os.walk(place / _DIRECTORY):
            for name in (".", *names):
                os.chown(Path(directory) / name, owner.st_uid, owner.st_gid, follow_symlinks=False)
        number += 1
    return number
