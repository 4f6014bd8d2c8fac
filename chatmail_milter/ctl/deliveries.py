"""Flushes Dovecot's cache of accounts for deliveries after a command changed an account."""

from __future__ import annotations

import click

from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError


def ask_anew() -> None:
    """Flushes the cache: the next delivery looks up mailbox and quota. Reports a failure on stderr."""
    try:
        Doveadm().forget_accounts()
    except (DoveadmError, OSError) as error:
        click.echo(f"For up to a minute deliveries may use the old state: {error}", err=True)
