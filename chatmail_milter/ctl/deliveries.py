"""What Dovecot remembers of accounts for deliveries is forgotten when a command has changed it."""

from __future__ import annotations

import click

from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError


def ask_anew() -> None:
    """Let the next delivery ask who has a mailbox, and its quota; where that fails, say so on stderr."""
    try:
        Doveadm().forget_accounts()
    except (DoveadmError, OSError) as error:
        click.echo(f"For a minute deliveries may go by what was so before: {error}", err=True)
