"""`chatmail-trim USER`: Dovecot starts it when a mailbox passes 75 % of its quota (`quota_warning`).

Runs as the mailboxes' user and knows nothing but doveadm. Several for one mailbox at once are no harm: they
choose the same messages. What it can't do, it says; Dovecot calls again as the mailbox fills further, and
chatmail-expire comes by.
"""

from __future__ import annotations

import sys
import syslog
import time

from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError, Message
from chatmail_milter.rules import full


def trim(doveadm: Doveadm, user: str, now: float) -> list[Message]:
    """Which messages have to go, so that the mailbox is no more than `full.DOWN_TO` percent full."""
    before = ("BEFORE", str(int(now - full.KEPT)))
    for usage in doveadm.usage([user]):
        return full.oldest(doveadm.messages([user], before), usage.used, usage.limit, now)
    return []


def main() -> None:
    """The console script."""
    if len(sys.argv) != 2:
        sys.exit("chatmail-trim: wants one argument, the user")
    # What a script of Dovecot's prints, Dovecot takes for an error.
    syslog.openlog("chatmail-trim", 0, syslog.LOG_MAIL)
    try:
        doveadm = Doveadm()
        go = trim(doveadm, sys.argv[1], time.time())
        doveadm.expunge(go)
    except (DoveadmError, OSError) as error:
        syslog.syslog(syslog.LOG_ERR, f"event=not-trimmed error={type(error).__name__}")
        sys.exit(75)
    syslog.syslog(f"event=trimmed messages={len(go)} octets={sum(one.octets for one in go)}")
