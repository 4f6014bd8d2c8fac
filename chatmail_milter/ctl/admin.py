"""`chatmailctl admin`: the passwords of the admin pages, which are kept as hashes alone."""

from __future__ import annotations

import click
from argon2 import PasswordHasher

from chatmail_milter.ctl.password import read

# Guesses come from strangers, ten a minute each; a long password is what keeps them out.
SHORTEST, LONGEST = 12, 128


@click.group()
def admin() -> None:
    """Passwords of the admin pages."""


@admin.command("hash")
def hash_() -> None:
    """The hash of a password, for a line of /etc/chatmail/admin.passwords (docs/admin-page.md).

    It asks at a prompt, or reads the first line of stdin: 12 to 128 characters.
    """
    password = read()
    if not SHORTEST <= len(password) <= LONGEST:
        raise click.ClickException(f"choose another password: {SHORTEST} to {LONGEST} characters")
    # The library's defaults are those of RFC 9106, 4, for little memory.
    click.echo(PasswordHasher().hash(password))
