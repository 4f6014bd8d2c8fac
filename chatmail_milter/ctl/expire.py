"""`chatmailctl expire`: one run of `chatmail-expire`, which the timer starts hourly; same options."""

from __future__ import annotations

import click

from chatmail_milter.mailboxes import expire as program
from chatmail_milter.mailboxes.passes import UnderWayError


@click.command(help=program.main.help, params=program.main.params)
def expire(dry_run: bool, clock_is_right: bool) -> None:
    try:
        status = program.run(dry_run=dry_run, clock_is_right=clock_is_right)
    except UnderWayError as error:
        raise click.ClickException(f"wait for the other run: {error}") from None
    except OSError as error:
        raise click.ClickException(f"check store.mail: {error.strerror}: {error.filename}") from None
    raise click.exceptions.Exit(status)
