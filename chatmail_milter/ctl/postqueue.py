"""Postfix's queue, by postqueue(1) and postsuper(1): lists, retries, holds, releases and deletes messages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import click

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError

_WHERE_DEBIAN_KEEPS_THEM = "/usr/sbin"  # not in every user's PATH
_SECONDS = 120
# Options of postsuper(1), which reads queue IDs from standard input for `-`.
_ORDERS: Mapping[str, str] = MappingProxyType({"hold": "-h", "release": "-H", "delete": "-d"})
# Its last line, `postsuper: Placed on hold: 2 messages`. It counts what it found of the IDs.
_COUNTED = re.compile(r": (\d+) messages?\s*\Z")


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One message in the queue. `size` in octets; `reasons` are Postfix's own words, each once."""

    queue: str
    queue_id: str
    arrived: datetime
    size: int
    sender: str
    recipients: tuple[str, ...]
    domains: tuple[str, ...]
    reasons: tuple[str, ...]


class Postqueue:
    """Runs postqueue. `open` returns None if there is none, as on a host without Postfix."""

    def __init__(self, program: str) -> None:
        self._program = program

    @classmethod
    def open(cls) -> Postqueue | None:
        """The one of this host."""
        program = _program("postqueue")
        return None if program is None else cls(program)

    @classmethod
    def here(cls) -> Postqueue:
        """The one of this host, or an end with what to do."""
        found = cls.open()
        if found is None:
            raise click.ClickException("run this on the relay itself: there is no postqueue here")
        return found

    def list(self) -> list[QueueEntry]:
        """All messages, oldest first."""
        return sorted(parse(self._run("-j")), key=lambda one: one.arrived)

    def hurry(self, queue_id: str) -> None:
        """Makes Postfix retry a deferred message now, even if it considers the destination dead.

        One that left the queue since it was listed is no error to Postfix, here and in `order`.
        """
        self._run("-i", queue_id)

    def order(self, what: str, queue_ids: Sequence[str]) -> int:
        """`hold`, `release` or `delete` messages; returns how many were still there. Only root may."""
        program = _program("postsuper")
        if program is None:
            raise click.ClickException("run this on the relay itself: there is no postsuper here")
        given = "".join(f"{one}\n" for one in queue_ids)
        counted = _COUNTED.search(_done([program, _ORDERS[what], "-"], "run this as root", given).stderr)
        return len(queue_ids) if counted is None else int(counted[1])

    def _run(self, *arguments: str) -> str:
        return _done([self._program, *arguments], "check that Postfix is running").stdout


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(f"{_WHERE_DEBIAN_KEEPS_THEM}/{name}")


def _done(words: list[str], advice: str, given: str = "") -> subprocess.CompletedProcess[str]:
    name = words[0].rpartition("/")[2]
    try:
        done = subprocess.run(  # noqa: S603  (queue IDs are Postfix's own)
            words,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise click.ClickException(f"{advice}: {name} has not answered for {_SECONDS} s") from None
    if done.returncode:
        raise click.ClickException(f"{advice}: {name} says: {done.stderr.strip()}")
    return done


def parse(text: str) -> Iterator[QueueEntry]:
    """Parses the output of `postqueue -j`: a JSON object per line."""
    for line in text.splitlines():
        message = json.loads(line)
        recipients: list[dict[str, Any]] = message["recipients"]
        addresses = tuple(recipient["address"] for recipient in recipients)
        reasons = (recipient.get("delay_reason", "") for recipient in recipients)
        yield QueueEntry(
            queue=message["queue_name"],
            queue_id=message["queue_id"],
            arrived=datetime.fromtimestamp(message["arrival_time"], UTC),
            size=message["message_size"],
            sender=message["sender"],
            recipients=addresses,
            domains=tuple(dict.fromkeys(map(_domain, addresses))),
            reasons=tuple(dict.fromkeys(filter(None, reasons))),
        )


def _domain(recipient: str) -> str:
    """The recipient's domain in canonical form; a malformed one as the sender wrote it."""
    text = address.domain_of(recipient)
    try:
        return address.domain(text)
    except MalformedAddressError:
        return text
