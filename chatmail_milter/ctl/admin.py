"""`chatmailctl admin`: passwords of the admin pages, which are stored only as hashes."""

from __future__ import annotations

import click
from argon2 import PasswordHasher

from chatmail_milter.ctl.context import password_given

# Guesses come from strangers, ten a minute each; a long password is what keeps them out.
SHORTEST, LONGEST = 12, 128


@click.group()
def admin() -> None:
    """Passwords of the admin pages."""


@admin.command("hash")
def hash_() -> None:
    """Print the hash of a password, for a line of /etc/chatmail/admin.passwords.

    The command prompts for the password (12 to 128 characters), or reads the first line of stdin.
    """
    password = password_given()
    if not SHORTEST <= len(password) <= LONGEST:
        raise click.ClickException(f"choose another password: {SHORTEST} to {LONGEST} characters")
    # The library's defaults are those of RFC 9106, 4, for little memory.
    click.echo(PasswordHasher().hash(password))
