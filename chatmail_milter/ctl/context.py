"""Input of commands: the store as `chatmailctl` opens it, arguments in canonical form, a password."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from sqlalchemy import Engine

from chatmail_milter import address
from chatmail_milter.config import load_or_exit, values
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import existing_store
from chatmail_milter.store.reserved_names import ReservedNames

# Characters, more than any password may have; a line is read to its end, whatever it is.
_LONGEST_LINE = 1 << 16


def store() -> Engine:
    """Opens the configured store. Raises `SQLAlchemyError`, which `main.Commands` explains in one line."""
    # What SQLite makes beside a store must be writable for the services, which share its directory's group.
    os.umask(0o007)
    return existing_store(load_or_exit().store.url)


def accounts(engine: Engine | None = None) -> Accounts:
    """The accounts of the configured store, or of `engine` if given."""
    return Accounts(engine or store(), names=ReservedNames(load_or_exit().accounts.names_kept))


def mail_directory() -> Path:
    """The configured directory of all mailboxes."""
    return Path(load_or_exit().store.mail)


def duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Click callback: the seconds of a duration (`2h`, `7d`)."""
    try:
        return None if value is None else values.duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def since(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Click callback: the time that was a duration ago."""
    seconds = duration(context, parameter, value)
    return None if seconds is None else datetime.now(UTC) - timedelta(seconds=seconds)


def canonical_domain(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Click callback: a mail domain in canonical form."""
    try:
        return None if value is None else address.domain(value)
    except address.MalformedAddressError as error:
        raise click.BadParameter(str(error)) from None


def canonical_address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Click callback: an address in canonical form."""
    try:
        return None if value is None else address.parse(value)
    except address.MalformedAddressError as error:
        raise click.BadParameter(str(error)) from None


def password_given() -> str:
    """A password from a prompt, or the first line of stdin if that is no terminal.

    Never from an argument, which every local user could read in the list of processes.
    """
    if sys.stdin.isatty():
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return password
    return sys.stdin.readline(_LONGEST_LINE).rstrip("\r\n")
