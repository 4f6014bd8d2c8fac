"""`chatmailctl account`: who has an account here."""

from __future__ import annotations

import click

from chatmail_milter.ctl.opened import canonical_address, store
from chatmail_milter.ctl.output import json_option, print_json, print_table
from chatmail_milter.store.accounts import Accounts


@click.group()
def account() -> None:
    """Accounts on this relay."""


@account.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All accounts, with the day of their creation and of their last login."""
    rows = [
        {
            "address": one.address,
            "created": one.created.isoformat(),
            "last_login": one.last_login.isoformat() if one.last_login else None,
        }
        for one in Accounts(store()).list()
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("Address", "Created", "Last login"),
        [(row["address"] or "", row["created"] or "", row["last_login"] or "never") for row in rows],
        "There are no accounts yet.",
    )


@account.command()
@click.argument("address", callback=canonical_address)
def delete(address: str) -> None:
    """Delete the account ADDRESS. Its mail stays in the Maildir; open registration lets it come back."""
    if not Accounts(store()).delete(address):
        raise click.ClickException(f"see `chatmailctl account list`: there is no account {address}")
