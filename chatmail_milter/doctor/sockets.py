"""Checks for sockets to which any local user can connect, and so inject mail or list the queue."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from chatmail_milter.doctor import Finding, FindingState, good, unknown

SUBJECT = "sockets"
PLACES = (
    Path("/run/chatmail"),
    Path("/run/dovecot"),
    Path("/run/opendkim"),
    Path("/var/spool/postfix/private"),
    Path("/var/spool/postfix/chatmail"),
    Path("/var/spool/postfix/opendkim"),
)


def check(places: tuple[Path, ...] = PLACES) -> Iterator[Finding]:
    """Finds each socket below `places` that is open to all users."""
    seen, closed = 0, 0
    for place in places:
        for folder, _, names in os.walk(place, onerror=lambda _error: None):
            for name in names:
                path = Path(folder, name)
                try:
                    mode = path.lstat().st_mode
                except OSError:
                    continue
                if not stat.S_ISSOCK(mode):
                    continue
                seen += 1
                if mode & stat.S_IWOTH and _is_reached(path):
                    yield Finding(
                        SUBJECT, str(path), FindingState.BAD, "any local user can connect",
                        "any local user could inject mail, or read the queue",
                        "run the playbook",
                    )  # fmt: skip
                else:
                    closed += 1
    if not seen:
        yield unknown(SUBJECT, "all", "no sockets are visible: run this as root, while the relay is running")
    elif closed == seen:
        yield good(SUBJECT, "all", f"{seen} sockets, none open to all users")


def _is_reached(path: Path) -> bool:
    """Whether all users may enter every directory of the path."""
    try:
        return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    except OSError:
        return False
