"""The mail directory of an account, and its removal: renamed in one step, then deleted.

The directory is named after the address (`mail_home` in dovecot.conf). `put_away` renames it to a random name
in a directory that no user can own. So the next owner of the address never sees old mail, even after a crash
during deletion: the next call of `finish` deletes whatever is left there.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from chatmail_milter import address

# Begins with a dot, so it is not a domain.
_PUT_AWAY = ".deleted"

# Seconds. A delivery that looked up the account before its deletion may create the directory again. That
# takes milliseconds, but its end can't be observed; so removal waits until nothing has appeared for this
# long.
SETTLED = 1.0
_DEADLINE = 30.0


def home(root: Path, user: str) -> Path | None:
    """The mail directory of `user`; None if that is not a canonical address, or contains a slash."""
    if not address.is_canonical(user) or "/" in user:
        return None
    local_part, _, domain = user.rpartition("@")
    return root / domain / local_part


@contextmanager
def as_owner(root: Path) -> Iterator[None]:
    """Access files as the owner of `root`, by credentials(7); root becomes root again afterwards.

    Any process of the mailboxes' user can put a link in the place of a directory below `root` at any moment.
    Root would follow it, to whatever only root can read, write or delete.
    """
    owner = root.stat()
    if os.geteuid() != 0 or owner.st_uid == os.getuid():
        yield
        return
    gid, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


class MailRemoval:
    """Removes mail directories below `root`, irrevocably, as its owner. Methods raise `OSError`."""

    def __init__(
        self,
        root: Path,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._root = root
        self._aside = root / _PUT_AWAY
        self._clock = clock
        self._sleep = sleep

    def put_away(self, mailbox: Path) -> Path | None:
        """Renames a mail directory out of reach. Returns its new path, or None if it does not exist."""
        if not mailbox.is_dir():
            return None
        place = self._aside / secrets.token_hex(8)
        with as_owner(self._root):
            self._aside.mkdir(mode=0o700, exist_ok=True)
            try:
                mailbox.rename(place)
            except FileNotFoundError:
                return None
        return place

    def finish(self, mailboxes: Collection[Path] = ()) -> None:
        """Deletes all that was put away, and waits for late deliveries to `mailboxes` to delete these too."""
        self._empty()
        if not mailboxes or not self._root.is_dir():
            return
        began = quiet_since = self._clock()
        while (now := self._clock()) - quiet_since < SETTLED and now - began < _DEADLINE:
            if sum(self.put_away(one) is not None for one in mailboxes):
                quiet_since = self._clock()
                self._empty()
            self._sleep(SETTLED / 20)

    def _empty(self) -> None:
        if not self._aside.is_dir():
            return
        with as_owner(self._root):
            for one in self._aside.iterdir():
                shutil.rmtree(one, onerror=_unless_gone)


def _unless_gone(
    _function: object, _path: str, error: tuple[type[BaseException], BaseException, object]
) -> None:
    """Ignores missing files: another process may be removing the same directory."""
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
