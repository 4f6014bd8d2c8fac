"""A relay whose operator sets something else for a while: its configuration changed, then put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.chat.deadline import until
from tests.lab.host import LabHost

FILE = "/etc/chatmail/chatmail.toml"
# Each reads it when it starts.
_WEB = "chatmail-hooks.service mxdeliv-app.service"
# When it is restarted, sessions with Postfix that are open get 451 for their next message; new ones don't.
MILTER = "chatmail-milter.service"


@contextmanager
def changed(host: LabHost, key: str, value: str, readers: str = _WEB) -> Iterator[None]:
    """Set the line `key = …`, which must be there once, for these units: hooks and web pages."""
    before = host.run(["cat", FILE]).stdout
    lines = before.splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith(f"{key} =")]
    lines[place] = f"{key} = {value}"
    _write(host, "\n".join(lines) + "\n", readers)
    try:
        yield
    finally:
        _write(host, before, readers)


@contextmanager
def impatient(host: LabHost, lifetime: str) -> Iterator[None]:
    """Postfix gives up after so long, in place of days."""
    with _postfix(host, f"maximal_queue_lifetime={lifetime}"):
        yield


@contextmanager
def patient(host: LabHost) -> Iterator[None]:
    """What waits from now on Postfix tries again when it is told to, and by itself after an hour."""
    with _postfix(host, "minimal_backoff_time=1h maximal_backoff_time=1h"):
        yield


@contextmanager
def _postfix(host: LabHost, parameters: str) -> Iterator[None]:
    # Put back as a file: postconf writes in a way of its own.
    host.run("cd /etc/postfix && cp -p main.cf main.cf.before")
    host.run(f"postconf -e {parameters}")
    reload_postfix(host)
    try:
        yield
    finally:
        host.run("cd /etc/postfix && mv main.cf.before main.cf")
        reload_postfix(host)


def reload_postfix(host: LabHost) -> None:
    """Have Postfix read its files, and wait until it has: `postfix reload` only sends a signal.

    The master starts another queue manager once it has read them.
    """
    before = _queue_managers(host)
    assert before, "Postfix runs"
    host.run("postfix reload")
    until("Postfix has read its files", lambda: _queue_managers(host) - before, 20)


def _queue_managers(host: LabHost) -> set[str]:
    return set(host.run(["pgrep", "-x", "qmgr"], check=False).stdout.split())


def _write(host: LabHost, text: str, readers: str) -> None:
    host.run(f"cat > {FILE} && systemctl restart {readers}", input=text)
