"""`chatmailctl probe PEER`: sends a real encrypted message by each road in turn, and measures each step."""

from __future__ import annotations

import secrets
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.config import load_or_exit
from chatmail_milter.ctl.context import store
from chatmail_milter.ctl.output import json_option, milliseconds, print_json, print_table
from chatmail_milter.store.routes import Routes

if TYPE_CHECKING:
    from mxdeliv_app.probe.steps import ProbeAttempt

KEY_TABLE = Path("/etc/opendkim/KeyTable")
ROADS = ("https", "smtp")


def _peer(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return address.parse(value) if "@" in value else address.domain(value)
    except MalformedAddressError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("peer", callback=_peer)
@click.option("--road", type=click.Choice(ROADS), help="Try only this road.")
@click.option(
    "--key-table",
    type=click.Path(path_type=Path),
    default=KEY_TABLE,
    show_default=True,
    help="OpenDKIM's KeyTable, with the relay's DKIM key.",
)
@json_option
def probe(peer: str, road: str | None, key_table: Path, as_json: bool) -> None:
    """Send a real message to a peer by HTTPS and by SMTP, step by step.

    The message is encrypted, goes by HTTPS and by SMTP, and the command prints each step with its time. PEER
    is an address, whose owner then gets a message that nobody can read, or a domain. For a domain the command
    makes up a recipient, and "no such user" is the expected answer. The sender is a made-up address of this
    relay; no account is created. Exit status: 0 if mail arrives by every road that was tried, else 1.
    """
    # PGPy and requests take longer to import than all other commands take to run.
    from mxdeliv_app.probe import message, run

    config, routes = load_or_exit(), Routes(store())
    try:
        key = message.read_key(key_table, config.mail.domain)
    except (OSError, LookupError) as error:
        raise click.ClickException(
            f"run this as root, on the relay: it can't sign the message: {error}"
        ) from None
    recipient = peer if "@" in peer else f"probe-{secrets.token_hex(6)}@{peer}"
    sender = f"probe-{secrets.token_hex(6)}@{config.mail.domain}"
    found = []
    try:
        for attempt in run.attempts(
            config,
            routes.get,
            (sender, recipient),
            message.signed(sender, recipient, key),
            ROADS if road is None else (road,),
        ):
            attempt.expected = run.is_expected(attempt, made_up=recipient != peer)
            found.append(attempt)
            if not as_json:
                _print(attempt, recipient)
    except run.NowhereError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json([{**asdict(one), "seconds": one.seconds, "error": one.error} for one in found])
    arrives = {one.road for one in found if one.expected}
    sys.exit(0 if arrives == {one.road for one in found} else 1)


def _print(attempt: ProbeAttempt, recipient: str) -> None:
    click.echo(f"{attempt.road} to {attempt.host}, for {recipient}")
    rows = [(step.name, milliseconds(step.seconds), step.error or step.found) for step in attempt.steps]
    print_table(("Step", "Time", "What came of it"), rows, "Nothing was tried.")
    click.echo(f"{_summary(attempt)}\n")


def _summary(attempt: ProbeAttempt) -> str:
    what = attempt.identity or "unknown"
    if attempt.expected:
        return f"Mail arrives by {attempt.road}, in {milliseconds(attempt.seconds)}. The host is: {what}."
    why = attempt.reply or attempt.error or "it takes no mail by this road"
    return f"No mail arrives by {attempt.road}: {why}. The host is: {what}."
