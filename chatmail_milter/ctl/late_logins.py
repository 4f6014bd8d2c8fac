"""Ends IMAP sessions of logins that were in progress when `sessions` ended the others.

A login that Dovecot accepted before a change can become a session afterwards. `sessions` starts this program
in the background. It ends such sessions twice: soon, and when no login in progress can be older than the
change. It also ends new sessions of that time; their apps log in again.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from chatmail_milter.ctl import context, sessions
from chatmail_milter.store.policies import Policies

# Seconds after the change. A login takes less than 10 unless a program hangs; Dovecot gives up one that takes
# longer than 180 (MASTER_LOGIN_TIMEOUT_SECS in master-interface.h of 2.3).
AFTER = (10.0, 180.0)


def main() -> None:
    """The program. JSON on stdin: `user` (empty: all that the policy refuses), `home` as in `end_of`."""
    began, asked = time.monotonic(), json.load(sys.stdin)
    for seconds in AFTER:
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        end(asked["user"], None if asked["home"] is None else Path(asked["home"]))


def end(user: str, home: Path | None) -> None:
    """Ends the sessions once."""
    if user:
        sessions.end(lambda one, _peer: one == user, home)
    else:
        sessions.end(sessions.refused_by(Policies(context.store()).current()))


if __name__ == "__main__":
    main()
