"""A copy of a relay's `store.sqlite` alone is complete, soon after a change and after a stop."""

from __future__ import annotations

import contextlib
import imaplib
from collections.abc import Iterator

import pytest

from tests.chat import relay
from tests.chat.deadline import until
from tests.chat.imap import new_account
from tests.lab.host import LabHost

STORE = "/var/lib/chatmail/store.sqlite"
_COUNT = """
import sqlite3, sys
print(sqlite3.connect("/run/alone/store.sqlite").execute(
    "SELECT count(*) FROM accounts WHERE address = ?", (sys.argv[1],)).fetchone()[0])
"""


def copy_has(host: LabHost, address: str) -> bool:
    """Whether a copy of the file alone has the account. One that is made amid a write may be no store."""
    host.run(f"rm -rf /run/alone && mkdir /run/alone && cp {STORE} /run/alone/")
    return host.run(["python3", "-c", _COUNT, address], check=False).stdout == "1\n"


def log_size(host: LabHost) -> int:
    """Octets in SQLite's log, 0 if there is none."""
    return int(host.run(f"stat -c %s {STORE}-wal || echo 0").stdout)


def programs(host: LabHost) -> str:
    """systemd's list of our services that run; those that only loaded rules of nftables have `exited`."""
    states = "--state=running,start,start-pre,start-post,stop,stop-sigterm,final-sigterm,reload"
    return host.run(
        f"systemctl list-units --no-legend {states} 'chatmail-*.service' 'mxdeliv-*.service'"
    ).stdout


def newcomer(host: LabHost) -> str:
    """An account that its first login has just made."""
    return new_account(host)[0]


@pytest.fixture
def _started_again(b: LabHost) -> Iterator[None]:
    yield
    b.run("systemctl start chatmail.target")

    def answered() -> bool:
        # While they are late, Dovecot calls it a temporary failure.
        with contextlib.suppress(imaplib.IMAP4.error):
            return bool(newcomer(b))
        return False

    until("the hooks answer", answered, 30)


def test_seconds_after_an_account_was_made(b: LabHost) -> None:
    address = newcomer(b)
    until("the file alone has the account", lambda: copy_has(b, address), 60, every=0.5)
    until("the log is empty", lambda: log_size(b) == 0, 60, every=0.5)


@pytest.mark.usefixtures("_started_again")
def test_when_the_relay_was_stopped_right_after_an_account_was_made(b: LabHost) -> None:
    address = newcomer(b)
    b.run("systemctl stop chatmail.target")
    until("all programs have ended", lambda: not programs(b), 90)
    assert copy_has(b, address)
    assert log_size(b) == 0
    # Each in order: none had to be killed.
    assert [
        one for one in relay.failed_units(b).splitlines() if one.startswith(("chatmail", "mxdeliv"))
    ] == []
