"""`chatmailctl account`: lists, shows, deletes, suspends and resumes accounts, and sets quotas.

An account is deleted with its rows in the store, its open sessions and its mail.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click
from sqlalchemy import Engine

from chatmail_milter import config
from chatmail_milter.config import values
from chatmail_milter.ctl.account_credentials import create, password
from chatmail_milter.ctl.account_transfer import export, import_
from chatmail_milter.ctl.context import accounts, canonical_address, mail_directory, store
from chatmail_milter.ctl.dovecot import end_of, end_refused, forget_accounts
from chatmail_milter.ctl.output import json_option, print_json, print_table
from chatmail_milter.ctl.output import size as format_size
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError, Usage
from chatmail_milter.mailboxes.home import MailRemoval, home
from chatmail_milter.store.engine import scrub
from chatmail_milter.store.policies import Policies, Suspensions
from chatmail_milter.store.revision import wait_for_caches_to_expire

_DEFAULT = "default"


@click.group()
def account() -> None:
    """Accounts on this relay."""


@account.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all accounts with the days of creation, last login and suspension.

    A deleted account that was suspended remains suspended, and is listed without a day of creation.
    """
    engine = store()
    suspended = Suspensions(engine).list()
    rows = {one: _row(one, since=since) for one, since in suspended.items()}
    for found in accounts(engine).list():
        since = suspended.get(found.address)
        rows[found.address] = _row(found.address, found.created, found.last_login, since)
    ordered = [rows[one] for one in sorted(rows)]
    if as_json:
        print_json(ordered)
        return
    print_table(
        ("Address", "Created", "Last login", "Suspended since"),
        [
            (
                row["address"] or "",
                row["created"] or "deleted",
                row["last_login"] or "never",
                row["suspended"] or "",
            )
            for row in ordered
        ],
        "There are no accounts yet.",
    )


@account.command()
@click.argument("address", callback=canonical_address)
@json_option
def show(address: str, as_json: bool) -> None:
    """Show the stored data of the account ADDRESS. Of its password, only the hash scheme is shown."""
    engine = store()
    found = accounts(engine).lookup(address)
    if found is None:
        raise click.ClickException(f"see `chatmailctl account list`: there is no account {address}")
    since = Suspensions(engine).list().get(address)
    row = _row(address, found.created, found.last_login, since)
    row["scheme"] = found.password_hash[1:].partition("}")[0]
    if as_json:
        print_json(row)
        return
    names = ("Address", "Created", "Last login", "Suspended since", "Password scheme")
    print_table(("", ""), [(name, value or "-") for name, value in zip(names, row.values(), strict=True)], "")


@account.command()
@click.argument("address", callback=canonical_address)
def delete(address: str) -> None:
    """Delete the account ADDRESS with all of its mail. Its name stays reserved (accounts.names_kept)."""
    engine = store()
    if not _delete_account(engine, mail_directory(), address):
        raise click.ClickException(f"see `chatmailctl account list`: there is no account {address}")
    if address in Suspensions(engine).list():
        click.echo(
            f"Nobody can create it again: {address} stays suspended until `chatmailctl account resume`."
        )


@account.command()
@click.argument("address", callback=canonical_address)
def suspend(address: str) -> None:
    """Suspend the account ADDRESS: it can't log in or send until `resume`.

    It still receives mail.
    """
    engine = store()
    if accounts(engine).lookup(address) is None:
        raise click.ClickException(
            f"see `chatmailctl account list`: there is no account {address}; "
            f"`chatmailctl block add {address}` prevents its creation"
        )
    if not Suspensions(engine).suspend(address):
        click.echo(f"{address} was suspended before.")
    end_refused(Policies(engine).current())


@account.command()
@click.argument("address", callback=canonical_address)
def resume(address: str) -> None:
    """Let the account ADDRESS log in and send again."""
    engine = store()
    if Suspensions(engine).resume(address):
        return
    if accounts(engine).lookup(address) is None:
        raise click.ClickException(f"see `chatmailctl account list`: there is no account {address}")
    click.echo(f"{address} was not suspended.")


def _row(
    address: str, created: date | None = None, last_login: date | None = None, since: date | None = None
) -> dict[str, str | None]:
    days = {"created": created, "last_login": last_login, "suspended": since}
    return {"address": address, **{name: day.isoformat() if day else None for name, day in days.items()}}


def _delete_account(engine: Engine, root: Path, address: str) -> bool:
    """Deletes the account of a canonical address, whose mail is below `root`; False if there is none.

    Also deletes mail without an account, which arrived during an earlier deletion.
    """
    removal, mailbox = MailRemoval(root), home(root, address)
    found: list[Path] = []

    def put_away() -> None:
        if mailbox is not None and (place := removal.put_away(mailbox)):
            found.append(place)

    try:
        if not accounts(engine).delete(address, beforehand=put_away):
            put_away()
            if not found:
                return False
        wait_for_caches_to_expire()
        forget_accounts()
        # Whoever was logged in by IMAP would go on, and might make the mailbox once more.
        end_of(address, found[0] if found else None)
        # Once more: the answer to a question of before the deletion may have been remembered since.
        forget_accounts()
        removal.finish([mailbox] if mailbox is not None else [])
        if not scrub(engine):
            click.echo(
                "The store is busy: its log file has traces of the account until chatmail-expire runs.",
                err=True,
            )
    except PermissionError:
        raise click.ClickException("run this as root, which removes the mail") from None
    return True


@click.command()
@click.argument("address", callback=canonical_address)
@click.argument("size", required=False)
@json_option
def quota(address: str, size: str | None, as_json: bool) -> None:
    """Show the quota of the account ADDRESS, or set it to SIZE.

    SIZE has a unit (2GB), or is `default`, for the quota in chatmail.toml. A change applies to the next
    message. No mail is removed: a mailbox above its quota stays full until old mail is removed.
    """
    opened = accounts()
    if size is not None and opened.set_quota(address, None if size == _DEFAULT else _octets(size)):
        forget_accounts()
    found = opened.lookup(address)
    if found is None:
        raise click.ClickException(f"see `chatmailctl account list`: there is no account {address}")
    if size is None or as_json:
        own = found.quota
        _print_quota(own or config.load_or_exit().accounts.quota, own is not None, _usage(address), as_json)


def _octets(size: str) -> int:
    try:
        octets = values.size(size)
    except ValueError as error:
        raise click.BadParameter(f"{error}, or `{_DEFAULT}`", param_hint="SIZE") from None
    if not 1 <= octets < 1 << 63:
        raise click.BadParameter(f"must be above 0 and below 2^63 octets, or `{_DEFAULT}`", param_hint="SIZE")
    return octets


def _usage(address: str) -> Usage | None:
    try:
        return next(Doveadm().usage([address]), None)
    except (DoveadmError, OSError):
        # The store says what may be held; what is held only Dovecot knows.
        return None


def _print_quota(quota: int, is_own: bool, usage: Usage | None, as_json: bool) -> None:
    used = usage.used if usage else None
    if as_json:
        print_json({"quota": quota, "own": is_own, "used": used})
        return
    origin = "its own" if is_own else "the default"
    share = (
        "the use is unknown: Dovecot does not answer"
        if used is None
        else f"{format_size(used)} used, {used * 100 // quota} %"
    )
    click.echo(f"{format_size(quota)}, {origin}; {share}")


for command in (create, password, quota, export, import_):
    account.add_command(command)
