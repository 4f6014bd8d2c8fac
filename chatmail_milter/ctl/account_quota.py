"""`chatmailctl account quota`: the quota of an account and its use."""

from __future__ import annotations

import click

from chatmail_milter import config
from chatmail_milter.config import values
from chatmail_milter.ctl.context import accounts, canonical_address
from chatmail_milter.ctl.dovecot import forget_accounts
from chatmail_milter.ctl.output import json_option, print_json
from chatmail_milter.ctl.output import size as format_size
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError, Usage

_DEFAULT = "default"


@click.command()
@click.argument("address", callback=canonical_address)
@click.argument("size", required=False)
@json_option
def quota(address: str, size: str | None, as_json: bool) -> None:
    """Show the quota of the account ADDRESS, or set it to SIZE (with a unit, e.g. 2GB) or `default`.

    A change applies to the next message. No mail is removed: a mailbox above its quota stays full until old
    mail is removed.
    """
    opened = accounts()
    if size is not None and opened.set_quota(address, None if size == _DEFAULT else _octets(size)):
        forget_accounts()
    account = opened.lookup(address)
    if account is None:
        raise click.ClickException(f"see `chatmailctl account list`: there is no account {address}")
    if size is None or as_json:
        own = account.quota
        _show(own or config.load_or_exit().accounts.quota, own is not None, _usage(address), as_json)


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


def _show(quota: int, is_own: bool, usage: Usage | None, as_json: bool) -> None:
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
