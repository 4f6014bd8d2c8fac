"""Ends open IMAP sessions of users who may no longer log in.

`doveadm kick` ends processes. Hibernated clients share a process, which must not be ended. So a file is
created in the client's mailbox first: Dovecot wakes the client in a process of its own for 40 ms, and that
process is ended. If it is missed, the next try repeats this. A failure is one line on stderr; the policy
applies to the next login in any case. `late_logins` ends sessions of logins that are in progress.
"""

from __future__ import annotations

import csv
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click

from chatmail_milter.address import Peer
from chatmail_milter.rules.policy import Policy
from chatmail_milter.verdict import Action

WHERE_DEBIAN_KEEPS_IT = "/usr/bin/doveadm"
IsOver = Callable[[str, Peer], bool]  # user and client's address

LATE_LOGINS = "chatmail_milter.ctl.late_logins"
DEADLINE = 10.0  # seconds, for all of them
_ONE_COMMAND = 5.0  # seconds


def end_refused(policy: Policy) -> None:
    """Ends the sessions that `policy`, the one in force, refuses. Reports on stderr."""
    if end(refused_by(policy)):
        _look_again()


def end_of(user: str, home: Path | None = None) -> None:
    """Ends the sessions of `user`. If the account was deleted, `home` is its renamed home directory."""
    if end(lambda one, _peer: one == user, home):
        _look_again(user, home)


def _look_again(user: str = "", home: Path | None = None) -> None:
    # The user is named on stdin: all users of this host may read a command's words.
    program = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-m", LATE_LOGINS],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/", start_new_session=True, text=True,
    )  # fmt: skip
    assert program.stdin is not None  # noqa: S101  (for mypy)
    with program.stdin as words:
        json.dump({"user": user, "home": None if home is None else str(home)}, words)
    # It goes on when we have ended; Python need not warn of that.
    program.returncode = 0


def refused_by(policy: Policy) -> IsOver:
    """Matches the sessions of users who may not log in."""
    return lambda user, peer: policy.login(user, peer).action is not Action.PASS


def end(is_over: IsOver, home: Path | None = None) -> bool:
    """Ends the matching sessions once; False if that is impossible on this host."""
    program = shutil.which(WHERE_DEBIAN_KEEPS_IT)
    if program is None or os.geteuid() != 0:
        why = "this host has no Dovecot" if program is None else "only root can end them"
        click.echo(f"IMAP sessions that are open stay open: {why}.", err=True)
        return False
    try:
        first = left = _open(program, is_over)
        deadline = time.monotonic() + DEADLINE
        while left and time.monotonic() < deadline:
            for user in left:
                _end(program, user, home)
            # Twice: one that Dovecot hands from one process to another may be with neither for a moment.
            left = _open(program, is_over) | _open(program, is_over)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        click.echo(f"IMAP sessions that are open may stay open: doveadm: {type(error).__name__}.", err=True)
        return True
    ended = len(first - left)
    if ended:
        click.echo(f"Ended the IMAP sessions of {ended} user{'' if ended == 1 else 's'}.", err=True)
    if left:
        click.echo(f"Still open, see `doveadm who`: those of {', '.join(sorted(left))}.", err=True)
    return True


def parse(text: str) -> Iterator[tuple[str, Peer]]:
    """User and IP address of each IMAP connection in the output of `doveadm -f tab who -1`.

    Raises `ValueError` or `KeyError` for other output.
    """
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["proto"] == "imap":
            # A program on this host that is connected by a socket has none.
            yield row["username"], ipaddress.ip_address(row["ip"]) if row["ip"] else None


def _open(program: str, is_over: IsOver) -> set[str]:
    """The users with a matching connection."""
    connected = parse(_doveadm(program, "-f", "tab", "who", "-1"))
    return {user for user, peer in connected if is_over(user, peer)}


def _end(program: str, user: str, home: Path | None) -> None:
    home = home or Path(_doveadm(program, "user", "-f", "home", user).strip())
    file = home / "Maildir" / "new" / ".wake"
    # Without a mailbox there is nobody who sleeps on it.
    with suppress(OSError):
        # The directory is the mailboxes' user's: root makes no file where a link of that user's leads.
        file.unlink(missing_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        file.unlink(missing_ok=True)
    _doveadm(program, "kick", user)


def _doveadm(program: str, *arguments: str) -> str:
    """The output of doveadm. A failure is not an error: the next list of sessions shows it."""
    done = subprocess.run(  # noqa: S603
        [program, *arguments], capture_output=True, text=True, check=False, timeout=_ONE_COMMAND
    )
    return done.stdout
