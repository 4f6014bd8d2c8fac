"""`chatmailctl queue`: what waits in Postfix's queue, and why (`postqueue -j`)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import click

from chatmail_milter.address import domain_of
from chatmail_milter.ctl.output import ago, json_option, print_json, print_table

_WHERE_DEBIAN_KEEPS_IT = "/usr/sbin/postqueue"  # not in every user's PATH
_SHOWN_REASONS = 2


@dataclass(frozen=True, slots=True)
class Queued:
    """One message in the queue. `size` in octets; `reasons` are Postfix's own words, each once."""

    queue: str
    queue_id: str
    arrived: datetime
    size: int
    sender: str
    recipients: tuple[str, ...]
    domains: tuple[str, ...]
    reasons: tuple[str, ...]


def parse(text: str) -> Iterator[Queued]:
    """The messages in the output of `postqueue -j`: a JSON object a line."""
    for line in text.splitlines():
        message = json.loads(line)
        recipients: list[dict[str, Any]] = message["recipients"]
        addresses = tuple(recipient["address"] for recipient in recipients)
        reasons = (recipient.get("delay_reason", "") for recipient in recipients)
        yield Queued(
            queue=message["queue_name"],
            queue_id=message["queue_id"],
            arrived=datetime.fromtimestamp(message["arrival_time"], UTC),
            size=message["message_size"],
            sender=message["sender"],
            recipients=addresses,
            domains=tuple(dict.fromkeys(map(domain_of, addresses))),
            reasons=tuple(dict.fromkeys(filter(None, reasons))),
        )


@click.command()
@json_option
def queue(as_json: bool) -> None:
    """Messages that wait in Postfix's queue, oldest first."""
    program = shutil.which("postqueue") or shutil.which(_WHERE_DEBIAN_KEEPS_IT)
    if program is None:
        raise click.ClickException("run this on the relay itself: there is no postqueue here")
    done = subprocess.run([program, "-j"], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise click.ClickException(f"see whether Postfix runs: postqueue says: {done.stderr.strip()}")
    messages = sorted(parse(done.stdout), key=lambda one: one.arrived)
    if as_json:
        print_json([asdict(message) for message in messages])
        return
    print_table(
        ("Queue", "Id", "Arrived", "Size", "Sender", "Recipients", "Domains", "Why it waits"),
        [
            (
                message.queue,
                message.queue_id,
                ago(message.arrived),
                f"{message.size} B",
                message.sender,
                _some(message.recipients, 3),
                _some(message.domains, 3),
                "; ".join(message.reasons[:_SHOWN_REASONS]),
            )
            for message in messages
        ],
        "The queue is empty.",
    )


def _some(values: tuple[str, ...], number: int) -> str:
    more = len(values) - number
    return ", ".join(values[:number]) + (f" and {more} more" if more > 0 else "")
