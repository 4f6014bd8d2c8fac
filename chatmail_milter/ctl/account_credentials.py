"""`chatmailctl account create` and `password`: credentials made by the operator."""

from __future__ import annotations

import click

from chatmail_milter import config
from chatmail_milter.accounts import credentials
from chatmail_milter.ctl.context import accounts, canonical_address, password_given
from chatmail_milter.ctl.dovecot import end_of
from chatmail_milter.ctl.output import json_option, print_json, print_qr, qr_option
from chatmail_milter.store.reserved_names import NameReservedError

_ask_option = click.option(
    "--ask", is_flag=True, help="Prompt for the password, or read it from the first line of stdin."
)


@click.command()
@click.argument("address", required=False, callback=canonical_address)
@_ask_option
@click.option("--reuse-name", is_flag=True, help="Allow a reserved name, of a deleted or expired account.")
@qr_option
@json_option
def create(address: str | None, ask: bool, reuse_name: bool, qr: bool, as_json: bool) -> None:
    """Create the account ADDRESS, or one with a random address.

    The command generates a password and prints it with a login link. With --ask it prompts for the password
    and prints nothing.
    """
    settings = config.load_or_exit()
    fresh = credentials.fresh(settings.accounts, settings.mail.domain)
    address = address or fresh.address
    reason = credentials.refuse_name(settings.mail.domain, address)
    if reason:
        raise click.ClickException(f"choose another address: {reason}")
    password = _allowed(settings.accounts, password_given()) if ask else fresh.password
    try:
        made = accounts().create(address, credentials.hash_password(password), reuse=reuse_name)
    except NameReservedError:
        raise click.ClickException(
            "choose another address, or add --reuse-name: "
            f"people may still write to the former owner of {address}"
        ) from None
    if not made:
        raise click.ClickException(f"choose another address: there is an account {address}")
    _tell(settings, address, None if ask else password, qr=qr, as_json=as_json)


@click.command()
@click.argument("address", callback=canonical_address)
@click.option("--random", is_flag=True, help="Generate a password, and print it with the login link.")
@qr_option
@json_option
def password(address: str, random: bool, qr: bool, as_json: bool) -> None:
    """Change the password of ADDRESS, and end its sessions.

    The command prompts for it, or reads the first line of stdin if that is not a terminal.
    """
    settings = config.load_or_exit()
    fresh = credentials.fresh(settings.accounts, settings.mail.domain)
    password = fresh.password if random else _allowed(settings.accounts, password_given())
    if not accounts().set_password(address, credentials.hash_password(password)):
        raise click.ClickException(f"see `chatmailctl account list`: there is no account {address}")
    # Whoever knew the old one may be in.
    end_of(address)
    if random:
        _tell(settings, address, password, qr=qr, as_json=as_json)


def _allowed(rules: config.AccountSettings, password: str) -> str:
    """The password; exits with an error if it is invalid."""
    reason = credentials.refuse_password(rules, password)
    if reason:
        raise click.ClickException(f"choose another password: {reason}")
    return password


def _tell(settings: config.Config, address: str, password: str | None, *, qr: bool, as_json: bool) -> None:
    """Prints the address, and what the command generated: never a password that was typed."""
    row = {"address": address}
    if password is not None:
        row |= {"password": password, "link": credentials.dclogin(settings, address, password)}
    if as_json:
        print_json(row)
    else:
        click.echo("\n".join(row.values()))
    if qr and "link" in row:
        print_qr(row["link"])
