"""`chatmailctl metrics`: the figures as Prometheus metrics, on stdout or in a file.

chatmail-metrics.timer starts it to write the file, which nginx serves on loopback. So the metrics cost the
programs that carry mail nothing, and take no memory between two collections.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import click
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.atomic_file import replaced
from chatmail_milter.calls import coturn
from chatmail_milter.config import load_or_exit
from chatmail_milter.ctl.calls import is_turn_server
from chatmail_milter.ctl.context import store
from chatmail_milter.ctl.postqueue import Postqueue
from chatmail_milter.ctl.reasons import explain
from chatmail_milter.figures import accounts, waiting
from chatmail_milter.figures import metrics as figures
from chatmail_milter.figures.metrics import Collected, DovecotFigures
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError
from chatmail_milter.store import counters, fault

# Metrics of dovecot.conf, and the outcome of a login that each counts.
LOGINS = {"auth_successes": "success", "auth_failures": "failure"}
_SLEEPERS = "imap-hibernate"  # Dovecot's processes with the connections of idle clients
_PROCESSES = Path("/proc")

_T = TypeVar("_T")


@click.command()
@click.option(
    "--write",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write them to FILE, which is replaced at once, such as one of node_exporter's textfile collector.",
)
def metrics(file: Path | None) -> None:
    """Print the relay's figures for Prometheus.

    docs/metrics.md describes each metric. Run it as root. What can't be read is left out, and
    chatmail_source_up says so.
    """
    text = figures.render(collect(), lambda word: explain(word) is not None)
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        _replace(file, text)
    except OSError as error:
        raise click.ClickException(f"name a file in a directory that can be written: {error}") from None


def collect() -> Collected:
    """The figures of this host, now."""
    began, now = time.monotonic(), datetime.now(UTC)
    config = load_or_exit()
    found = Collected(version("chatmail-milter"), now, 0.0)
    try:
        engine = store()
        found = replace(
            found,
            counters=counters.read(engine),
            accounts=accounts.count(engine, now.date()),
            push=accounts.push(engine),
        )
    except SQLAlchemyError as error:
        click.echo(f"No figures of the store: {fault.explained(error).advice}", err=True)
    queue = _or_none("queue", lambda: waiting.queue(Postqueue.here().list()))
    dovecot = _or_none("Dovecot", lambda: _dovecot(Doveadm()))
    calls = None
    if config.metadata.turn is not None and is_turn_server(config):
        port = config.metadata.turn.pair[1]
        calls = _or_none("coturn", lambda: coturn.figures(port)) or coturn.CallFigures(up=False, ports=0)
    seconds = time.monotonic() - began
    return replace(found, queue=queue, dovecot=dovecot, calls=calls, seconds=seconds)


def _or_none(name: str, read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except click.ClickException as error:
        words = error.message
    except (DoveadmError, OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        words = str(error)
    click.echo(f"No figures of {name}: {words}", err=True)
    return None


def _dovecot(doveadm: Doveadm) -> DovecotFigures:
    counted = doveadm.statistics()
    processes = Counter(doveadm.clients())
    idle = sum(clients for pid, clients in processes.items() if _name(pid) == _SLEEPERS)
    return DovecotFigures(
        {outcome: counted[name] for name, outcome in LOGINS.items() if name in counted},
        {"active": processes.total() - idle, "idle": idle},
    )


def _name(pid: int) -> str:
    try:
        return (_PROCESSES / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""  # it has ended


def _replace(file: Path, text: bytes) -> None:
    with replaced(file) as new:
        new.write(text)
        # There is no secret in it, and node_exporter runs as another user.
        os.fchmod(new.fileno(), 0o644)
