"""`chatmail-trim USER`: makes room in a mailbox that passed 75 % of its quota. Dovecot starts it, by
`quota_warning`.

Removes what `rules.full` names. Runs as the mailboxes' user and knows nothing but doveadm. Several for one
mailbox at once are no harm: they choose the same messages, or others of the same sender. What it can't do, it
says; Dovecot calls again as the mailbox fills further, and chatmail-expire comes by.
"""

from __future__ import annotations

import sys
import syslog
import time

import click

from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError, StoredMessage
from chatmail_milter.rules import full

# What comes during a turn may pass all the marks that are left, so another turn follows until there is
# nothing to do. Not for ever: whatever is wrong with a mailbox, the next mark, or the next pass, begins anew.
_MOST_TURNS = 20


def trim(doveadm: Doveadm, user: str, now: float) -> list[StoredMessage]:
    """Which messages have to go (`full.leaving`); none if there is no limit, or room enough."""
    for usage in doveadm.usage([user]):
        if full.is_filling_up(usage.used, usage.limit):
            return full.leaving(doveadm.everything(user), usage.limit, now)
    return []


@click.command()
@click.argument("user")
def main(user: str) -> None:
    """Make room in the mailbox of USER that passed 75 % of its quota. Dovecot starts it, by quota_warning."""
    # What a script of Dovecot's prints, Dovecot takes for an error.
    syslog.openlog("chatmail-trim", 0, syslog.LOG_MAIL)
    doveadm = Doveadm()
    try:
        for _ in range(_MOST_TURNS):
            go = trim(doveadm, user, time.time())
            doveadm.expunge(go)
            syslog.syslog(f"event=trimmed messages={len(go)} octets={sum(one.octets for one in go)}")
            if not go:
                break
    except (DoveadmError, OSError) as error:
        syslog.syslog(syslog.LOG_ERR, f"event=not-trimmed error={type(error).__name__}")
        sys.exit(75)
