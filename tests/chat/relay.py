"""What a relay says of itself: `chatmailctl` on the host, and its systemd units."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.chat.deadline import until
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS

_CTL = f"{PROGRAMS}/chatmailctl"


def ctl(host: LabHost, *words: str) -> Any:
    """The JSON that `chatmailctl … --json` prints."""
    return json.loads(host.run(shlex.join([_CTL, *words, "--json"])).stdout)


def asked(host: LabHost, *words: str) -> tuple[int, Any]:
    """Exit status and JSON of a `chatmailctl …` whose status says something."""
    said = host.run(shlex.join([_CTL, *words, "--json"]), check=False)
    return said.returncode, json.loads(said.stdout)


def operate(host: LabHost, *words: str, input: str | None = None) -> str:
    """What `chatmailctl …` prints, done when this returns."""
    return host.run(shlex.join([_CTL, *words]), input=input).stdout


def successes(host: LabHost, domain: str, road: str) -> int:
    """How many deliveries to or from a peer went well by this road, as the relay counts."""
    for row in ctl(host, "peers"):
        if row["domain"] == domain and row["road"] == road:
            return int(row["successes"])
    return 0


def count_all(*hosts: LabHost) -> None:
    """Have the relays count all that has happened so far, so that what follows can be told from it."""
    for host in hosts:
        # What it did itself it writes at the latest when it ends.
        host.run("systemctl restart mxdeliv-relay")
        # What others did it reads in the journal: when it knows of this line, it does of all before.
        mark = f"mark-{secrets.token_hex(4)}"
        log(host, "chatmail-web", "gunicorn", f"event=failed domain=<> status=503 reason={mark}")
        until("the journal is read", partial(_has_failed, host, mark), 20, every=0.2)


def log(host: LabHost, user: str, identifier: str, message: str) -> None:
    """Log a line under a program's name, as some user."""
    become = ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"]
    host.run([*become, "logger", "--tag", identifier, message])


def _has_failed(host: LabHost, reason: str) -> bool:
    return any(reason in row["reasons"] for row in ctl(host, "peers"))


def queued(host: LabHost, recipient: str) -> list[dict[str, Any]]:
    """The queue's messages to a recipient."""
    return [row for row in ctl(host, "queue") if recipient in row["recipients"]]


def is_deferred(host: LabHost, recipient: str) -> bool:
    """Whether a message to a recipient waits for another try."""
    return any(row["queue"] == "deferred" for row in queued(host, recipient))


def is_done_with(host: LabHost, recipient: str) -> bool:
    """Whether no message waits for a recipient. What is deferred is tried at once, in place of minutes later.

    A mailbox that goes while LMTP writes to it answers 451 4.2.0 (`deleted under us`); the next try bounces.
    """
    rows = queued(host, recipient)
    if any(row["queue"] == "deferred" for row in rows):
        operate(host, "queue", "flush")
    return not rows


def forget_endpoints(host: LabHost) -> None:
    """Make the relay forget whose HTTPS did not work, as it would by itself after some minutes."""
    operate(host, "endpoints", "forget", "--all")


@contextmanager
def stopped(host: LabHost, units: str) -> Iterator[None]:
    """These units of systemd are stopped while the block runs."""
    host.run(f"systemctl stop {units}")
    try:
        yield
    finally:
        host.run(f"systemctl start {units}")


@contextmanager
def without_store(host: LabHost, service: str) -> Iterator[None]:
    """The service starts where it can't open the store's files; those who have them open keep them."""
    host.run("chmod 0 /var/lib/chatmail/store.sqlite*")
    try:
        host.run(f"systemctl restart {service}")
        yield
    finally:
        # It is not told that they are back.
        host.run("chmod 660 /var/lib/chatmail/store.sqlite*")


def failed_units(host: LabHost) -> str:
    """systemd's list of failed units; empty is good."""
    return host.run("systemctl --failed --no-legend --plain").stdout.strip()
