"""`chatmailctl gate`: the gate's verdict on a message, and its rule. Never prints content of the message."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import BinaryIO

import click

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.ctl.gate_trace import GateTrace
from chatmail_milter.ctl.output import json_option, print_json
from chatmail_milter.ctl.received import OLDEST, Received, Version, receive
from chatmail_milter.gate.gate import Direction
from chatmail_milter.gate.reasons import rule
from chatmail_milter.milter.transaction import RuleSettings, Transaction
from chatmail_milter.rules import inbound
from chatmail_milter.rules.policy import OPEN
from chatmail_milter.verdict import Action, Verdict

# gate check has no peer and no DKIM result: no Authentication-Results field is trusted.
_SETTINGS = RuleSettings(authserv_id="", any_ip_literal=True)
_POSTCONF = ("/usr/sbin/postconf", "-dh", "mail_version")


def _mailbox(text: str) -> str:
    """Click type: an envelope address; `<>` is the null sender."""
    try:
        return address.parse(text) if text.strip("<>") else ""
    except MalformedAddressError as error:
        raise click.BadParameter(str(error)) from None


def _version(text: str) -> Version:
    """Click type: the version of Postfix, such as 3.10 or 3.7.11."""
    numbers = re.match(r"(\d{1,4})\.(\d{1,4})(?!\d)", text)
    if numbers is None:
        raise click.BadParameter("write it as in 3.10")
    return int(numbers[1]), int(numbers[2])


def _version_here() -> Version:
    """This host's; without Postfix, the oldest that a relay runs with."""
    try:
        said = subprocess.run(_POSTCONF, capture_output=True, text=True, check=True, timeout=20).stdout  # noqa: S603
        return _version(said)
    except (OSError, subprocess.SubprocessError, click.BadParameter):
        return OLDEST


@click.group()
def gate() -> None:
    """Check messages with the PGP-only gate."""


@gate.command()
@click.option(
    "--direction",
    type=click.Choice([direction.value for direction in Direction]),
    default=Direction.OUT.value,
    show_default=True,
    help="`out`: from a user of this relay. `in`: from a peer.",
)
@click.option(
    "--sender",
    type=_mailbox,
    metavar="ADDRESS",
    help="Envelope sender; by default the author. `<>`: the null sender.",
)
@click.option(
    "--recipient", "recipients", type=_mailbox, metavar="ADDRESS", multiple=True, help="Envelope recipient."
)
@click.option(
    "--postfix",
    type=_version,
    metavar="VERSION",
    help="Change the message as this version of Postfix does; by default as this host's.",
)
@json_option
@click.argument("file", type=click.File("rb"), required=False)
def check(
    direction: str,
    sender: str | None,
    recipients: tuple[str, ...],
    postfix: Version | None,
    as_json: bool,
    file: BinaryIO | None,
) -> None:
    """Check whether the message in FILE would pass, and by which rule.

    Without FILE, it reads standard input. FILE has the message as a client sends it by SMTP. The command
    first changes it as Postfix would before the milter. It prints the structure that the gate read:
    parts, armor, packets; never any content. Exit status 0: it would pass; 1: it would be refused. Checks
    that depend on the peer, such as DKIM, are left out.
    """
    file = _piped() if file is None else file
    seen = GateTrace()
    try:
        message = receive(file, Direction(direction), postfix or _version_here())
        if message is None:
            raise click.UsageError("choose another file: this one is empty")
        verdict = _judge(Direction(direction), sender, recipients, message, seen)
    except OSError as error:
        raise click.UsageError(f"can't read the message: {error.strerror}") from None
    passes = verdict.action is Action.PASS
    said = {
        "verdict": "pass" if passes else "reject",
        "code": verdict.code,
        "text": verdict.text,
        "reason": verdict.reason,
        "rule": rule(verdict.reason),
    }
    if as_json:
        print_json({**said, "message": seen.as_json()})
    else:
        click.echo(f"{said['verdict']}: {verdict.reply} ({verdict.reason})")
        click.echo(f"rule: {said['rule']}")
        for line in seen.lines():
            click.echo(line)
    sys.exit(0 if passes else 1)


def _piped() -> BinaryIO:
    if sys.stdin.isatty():
        raise click.UsageError("name a FILE, or pipe a message to this command")
    return sys.stdin.buffer


def _judge(
    direction: Direction, sender: str | None, recipients: tuple[str, ...], message: Received, seen: GateTrace
) -> Verdict:
    mail_from = _author(message) if sender is None else sender
    transaction = Transaction(_SETTINGS, direction, None, mail_from, OPEN, seen)
    for recipient in recipients:
        transaction.recipient(f"<{recipient}>")
    transaction.fields(message.fields)
    transaction.end_of_header()
    for chunk in message.body:
        seen.octets += len(chunk)
        transaction.body(chunk)
    seen.size = transaction.size
    return transaction.decide_by_content()


def _author(message: Received) -> str:
    return inbound.author_of([value for name, value in message.fields if name.lower() == "from"]) or ""
