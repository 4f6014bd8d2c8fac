"""`chatmailctl token`: invitations, for registration by token."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from chatmail_milter import config
from chatmail_milter.accounts import credentials
from chatmail_milter.ctl.context import duration, store
from chatmail_milter.ctl.output import (
    ago,
    earlier_name,
    json_option,
    print_json,
    print_qr,
    print_table,
    qr_option,
)
from chatmail_milter.store.tokens import Token, Tokens


@click.group()
def token() -> None:
    """Invitations, with which people create accounts.

    A token is good for a number of accounts, until it expires.
    """


@token.command()
@click.option(
    "--uses",
    metavar="NUMBER",
    type=click.IntRange(min=1),
    help="Number of accounts that may be created. Default: any number.",
)
@click.option(
    "--expires", metavar="DURATION", callback=duration, help="Validity: `12h`, `30d`. Default: forever."
)
@qr_option
@json_option
def create(uses: int | None, expires: float | None, qr: bool, as_json: bool) -> None:
    """Create a token, and print it with the link that creates an account. It is shown only this once."""
    settings = config.load_or_exit()
    made, kept = Tokens(store()).create(uses, expires)
    link = credentials.dcaccount(settings, made)
    if as_json:
        print_json({"token": made, "link": link, **_row(kept)})
    else:
        click.echo(f"{made}\n{link}")
    if qr:
        print_qr(link)
    if settings.accounts.registration != "token":
        click.echo(
            f"Registration is {settings.accounts.registration}; set accounts.registration to `token`.",
            err=True,
        )


@token.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all tokens: ID, number of accounts created and allowed, expiry."""
    rows = Tokens(store()).list()
    if as_json:
        print_json([_row(row) for row in rows])
        return
    now = time.time()
    print_table(
        ("ID", "Created", "Accounts", "Of", "Expires", "Spent"),
        [
            (
                row.id,
                row.created.isoformat(),
                str(row.used),
                "any" if row.uses is None else str(row.uses),
                "never" if row.expires is None else ago(_time(row.expires)),
                "yes" if row.spent(now) else "",
            )
            for row in rows
        ],
        "There are no tokens.",
    )


@token.command()
@click.argument("token")
def remove(token: str) -> None:
    """Invalidate TOKEN (or its ID) at once. Accounts that were created with it remain."""
    if not Tokens(store()).revoke(token):
        raise click.ClickException("see `chatmailctl token list`: there is no such token")


earlier_name(token, "revoke", remove)


def _row(kept: Token) -> dict[str, Any]:
    spent = kept.spent(time.time())
    expires = None if kept.expires is None else _time(kept.expires)
    return {**asdict(kept), "expires": expires, "spent": spent}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
