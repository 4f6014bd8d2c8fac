"""Applies the change of a command to Dovecot: ends IMAP sessions, flushes the cache of user lookups.

Sessions of users who may no longer log in are ended. `doveadm kick` ends processes. Hibernated clients share
a process, which must not be ended. So a file is created in the client's mailbox first: Dovecot wakes the
client in a process of its own for 40 ms, and that process is ended. If it is missed, the next try repeats
this. A failure is one line on stderr; the policy applies to the next login in any case.

A login that Dovecot accepted before a change can become a session afterwards. So this module is also a
program, started in the background. It ends such sessions twice: soon, and when no login in progress can be
older than the change. It also ends new sessions of that time; their apps log in again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from chatmail_milter.address import Peer
from chatmail_milter.ctl import context
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError
from chatmail_milter.mailboxes.home import as_owner
from chatmail_milter.rules.policy import Policy
from chatmail_milter.store.policies import Policies
from chatmail_milter.verdict import Action

IsOver = Callable[[str, Peer], bool]  # user and client's address

DEADLINE = 10.0  # seconds, for all sessions
# Seconds after a change at which late logins are ended. A login takes less than 10 unless a program hangs;
# Dovecot gives up one that takes longer than 180 (MASTER_LOGIN_TIMEOUT_SECS in master-interface.h of 2.3).
LATE = (10.0, 180.0)


def forget_accounts() -> None:
    """Flushes the cache: the next delivery looks up mailbox and quota. Reports a failure on stderr."""
    try:
        Doveadm().forget_accounts()
    except (DoveadmError, OSError) as error:
        click.echo(f"For up to a minute deliveries may use the old state: {error}", err=True)


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
    program = subprocess.Popen(
        [sys.executable, "-I", "-m", "chatmail_milter.ctl.dovecot"],
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
    doveadm = Doveadm()
    if not doveadm.installed or os.geteuid() != 0:
        why = "only root can end them" if doveadm.installed else "this host has no Dovecot"
        click.echo(f"IMAP sessions that are open stay open: {why}.", err=True)
        return False
    try:
        first = left = _open(doveadm, is_over)
        deadline = time.monotonic() + DEADLINE
        while left and time.monotonic() < deadline:
            for user in left:
                _end(doveadm, user, home)
            # Twice: one that Dovecot hands from one process to another may be with neither for a moment.
            left = _open(doveadm, is_over) | _open(doveadm, is_over)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        click.echo(f"IMAP sessions that are open may stay open: doveadm: {type(error).__name__}.", err=True)
        return True
    ended = len(first - left)
    if ended:
        click.echo(f"Ended the IMAP sessions of {ended} user{'' if ended == 1 else 's'}.", err=True)
    if left:
        click.echo(f"Still open, see `doveadm who`: those of {', '.join(sorted(left))}.", err=True)
    return True


def _open(doveadm: Doveadm, is_over: IsOver) -> set[str]:
    """The users with a matching connection."""
    return {user for user, peer in doveadm.connections() if is_over(user, peer)}


def _end(doveadm: Doveadm, user: str, home: Path | None) -> None:
    file = (home or doveadm.home(user)) / "Maildir" / "new" / ".wake"
    # Without a mailbox there is nobody who sleeps on it.
    with suppress(OSError), as_owner(context.mail_directory()):
        file.unlink(missing_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        file.unlink(missing_ok=True)
    doveadm.kick(user)


def end_late_logins() -> None:
    """The program. JSON on stdin: `user` (empty: all that the policy refuses), `home` as in `end_of`."""
    began, asked = time.monotonic(), json.load(sys.stdin)
    user, home = asked["user"], None if asked["home"] is None else Path(asked["home"])
    for seconds in LATE:
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        if user:
            end(lambda one, _peer: one == user, home)
        else:
            end(refused_by(Policies(context.store()).current()))


if __name__ == "__main__":
    end_late_logins()
