"""`chatmail-trim USER`: removes mail from a mailbox that passed 75 % of its quota.

Dovecot runs it (`quota_warning`). `rules.full_mailbox` selects the messages. Runs as the user that owns the
mail, and accesses it only by doveadm. Several at once for one mailbox do no harm: they select the same
messages, or others of the same sender. After a failure, Dovecot runs it again when the mailbox passes the
next threshold, and chatmail-expire does the same work hourly.
"""

from __future__ import annotations

import sys
import syslog
import time

import click

from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError, MailboxContents
from chatmail_milter.rules import full_mailbox

# Mail that arrives meanwhile may pass the last quota_warning threshold, so the check is repeated until there
# is nothing to remove. Limited, in case removal has no effect.
_MOST_TURNS = 20


def trim(doveadm: Doveadm, user: str, now: float) -> MailboxContents:
    """The messages to remove (`full_mailbox.leaving`); none without a quota, or with enough free space."""
    for usage in doveadm.usage([user]):
        if full_mailbox.is_filling_up(usage.used, usage.limit):
            found = doveadm.everything(user)
            leaving = full_mailbox.leaving(found.messages, usage.limit, now)
            return MailboxContents(leaving, found.unreadable)
    return MailboxContents(())


@click.command()
@click.argument("user")
def main(user: str) -> None:
    """Make room in the mailbox of USER that passed 75 % of its quota. Dovecot starts it, by quota_warning."""
    # Not printed: Dovecot logs output of its scripts as errors.
    syslog.openlog("chatmail-trim", 0, syslog.LOG_MAIL)
    doveadm = Doveadm()
    try:
        for _ in range(_MOST_TURNS):
            found = trim(doveadm, user, time.time())
            go = found.messages
            doveadm.expunge(go)
            unreadable = f" unreadable={found.unreadable}" if found.unreadable else ""
            octets = sum(one.octets for one in go)
            syslog.syslog(f"event=trimmed messages={len(go)} octets={octets}{unreadable}")
            if not go:
                break
    except (DoveadmError, OSError) as error:
        syslog.syslog(syslog.LOG_ERR, f"event=not-trimmed error={type(error).__name__}")
        sys.exit(75)
