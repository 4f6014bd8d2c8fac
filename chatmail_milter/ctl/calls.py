"""`chatmailctl calls`: the secrets of the TURN server, which relays calls of users behind firewalls."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from pathlib import Path

import click

from chatmail_milter.accounts.credentials import host_name
from chatmail_milter.calls import turn
from chatmail_milter.config import Config
from chatmail_milter.ctl.context import duration
from chatmail_milter.ctl.output import confirm

# Gives coturn the secrets, as its user.
PUBLISHER = "chatmail-turn-secrets.service"


def is_turn_server(config: Config) -> bool:
    """Whether METADATA names a TURN server on this host."""
    return config.metadata.turn is not None and config.metadata.turn.pair[0] == host_name(config.mail.host)


@click.group()
def calls() -> None:
    """Secrets of the TURN server for calls."""


@calls.command()
@click.option(
    "--overlap",
    metavar="DURATION",
    default="5d",
    show_default=True,
    callback=duration,
    help="How long credentials made with the former secret stay valid. `0s`: they are invalid at once.",
)
@click.option("--yes", is_flag=True, help="Do not ask before credentials become invalid early.")
def rotate(overlap: float, yes: bool) -> None:
    """Replace the secret with which apps' credentials for calls are made. Run it as root.

    Apps keep their credentials for up to 5 days. With a shorter overlap some of them can't call through the
    relay until they ask for new ones.
    """
    if overlap < turn.LIFETIME and not yes:
        confirm("Make credentials invalid that apps still keep?")
    path = turn.secrets_path()
    now = time.time()
    try:
        kept = turn.rotated(turn.read(path), now, overlap)
        turn.write(path, kept)
    except turn.TurnSecretsError as error:
        raise click.ClickException(f"repair the file of secrets: {error}") from None
    except OSError as error:
        raise click.ClickException(f"run it as root: {error}") from None
    said = subprocess.run(  # noqa: S603  (our own words, no shell)
        ["/usr/bin/systemctl", "start", PUBLISHER], capture_output=True, text=True, check=False
    )
    if said.returncode:
        raise click.ClickException(
            f"start {PUBLISHER} where coturn is; until then it refuses new credentials: {said.stderr.strip()}"
        )
    click.echo(f"New credentials are made with another secret. Valid secrets: {len(kept)}.")


@calls.command()
@click.argument("realm")
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=turn.DATABASE_PATH,
    show_default=True,
    help="coturn's database.",
)
def publish(realm: str, database: Path) -> None:
    """Write the valid secrets to coturn's database, for REALM. systemd runs it hourly."""
    try:
        changed = turn.publish(turn.valid(turn.read(turn.secrets_path()), time.time()), realm, database)
    except (turn.TurnSecretsError, sqlite3.Error) as error:
        raise click.ClickException(f"coturn does not get its secrets: {error}") from None
    if changed:
        click.echo("event=turn-secrets-published")
