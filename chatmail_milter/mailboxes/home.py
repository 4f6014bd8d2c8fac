"""Where the mail of an account lies, and how it goes: put away in one step, then removed.

A mailbox is a directory named by its address (`mail_home` of dovecot.conf). Put away it has a name that says
nothing, in a directory that is nobody's, so nobody can come upon it: not who has the address next, and not
after a crash half-way, for whatever lies there is removed by whoever comes next.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from chatmail_milter import address

# No domain: it begins with a dot.
_PUT_AWAY = ".deleted"

# Seconds. A delivery that asked for the account before it was deleted may make its directory once more. That
# takes milliseconds, but nobody is told when it is over; so this is for how long nothing must have come.
SETTLED = 1.0
_DEADLINE = 30.0


def home(root: Path, user: str) -> Path | None:
    """The directory of `user`, a canonical address; None if nobody's can be called that."""
    try:
        canonical = address.parse(user)
    except address.MalformedAddressError:
        return None
    if canonical != user or "/" in user:
        return None
    local_part, _, domain = user.rpartition("@")
    return root / domain / local_part


class Removal:
    """Removes mailboxes below `root`, for good."""

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
        """Take a mailbox out of everybody's sight; where it is now, or None if there is none."""
        if not mailbox.is_dir():
            return None
        self._make_aside()
        place = self._aside / secrets.token_hex(8)
        try:
            mailbox.rename(place)
        except FileNotFoundError:
            return None
        return place

    def finish(self, mailboxes: Collection[Path] = ()) -> None:
        """Remove all that was put away, and what still comes to `mailboxes`."""
        self._empty()
        if not mailboxes or not self._root.is_dir():
            return
        began = quiet_since = self._clock()
        while (now := self._clock()) - quiet_since < SETTLED and now - began < _DEADLINE:
            if sum(self.put_away(one) is not None for one in mailboxes):
                quiet_since = self._clock()
                self._empty()
            self._sleep(SETTLED / 20)

    def _make_aside(self) -> None:
        with suppress(FileExistsError):
            self._aside.mkdir(mode=0o700)
            if os.geteuid() == 0:
                # Who owns the mailboxes has to be able to go on where root was cut off.
                owner = self._root.stat()
                os.chown(self._aside, owner.st_uid, owner.st_gid)

    def _empty(self) -> None:
        if self._aside.is_dir():
            for one in self._aside.iterdir():
                shutil.rmtree(one, onerror=_unless_gone)


def _unless_gone(
    _function: object, _path: str, error: tuple[type[BaseException], BaseException, object]
) -> None:
    """Somebody else may be removing the same."""
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
