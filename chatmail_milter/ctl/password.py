"""Reads a password from a prompt or the first line of stdin. Never from an argument, which every local user
could read in the list of processes.
"""

from __future__ import annotations

import sys

import click

from chatmail_milter import config
from chatmail_milter.accounts import credentials

# More than any password may have; a line is read to its end, whatever it is.
_LONGEST_LINE = 1 << 16


def ask(rules: config.AccountSettings) -> str:
    """The password; exits with an error if it is invalid."""
    password = read()
    reason = credentials.refuse_password(rules, password)
    if reason:
        raise click.ClickException(f"choose another password: {reason}")
    return password


def read() -> str:
    """Whatever is said."""
    if sys.stdin.isatty():
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return password
    return sys.stdin.readline(_LONGEST_LINE).rstrip("\r\n")
