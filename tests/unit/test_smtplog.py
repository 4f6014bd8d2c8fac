"""smtp(8)'s log lines, as Postfix 3.7 writes them, to counts."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chatmail_milter.config import Endpoint
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Contact, Peers
from mxdeliv_app.relay.smtplog import Follower, Transactions, contact

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HTTPS_ONLY = Endpoint("127.0.0.1:10027")


def read(line: str, transactions: Transactions | None = None) -> Contact | None:
    return contact(line, NOON, HTTPS_ONLY, transactions or Transactions())


def line(
    to: str = "bob@b.test",
    relay: str = "mx.b.test[192.0.2.1]:25",
    delays: str = "0.1/0.02/0.3/0.4",
    dsn: str = "2.0.0",
    status: str = "sent (250 2.0.0 Ok: queued as 4F9C)",
    queue_id: str = "4BkX7d2wPz",
) -> str:
    return f"{queue_id}: to=<{to}>, relay={relay}, delay=0.82, delays={delays}, dsn={dsn}, status={status}"


def test_sent_is_a_success_that_took_connecting_and_transmission() -> None:
    found = read(line())
    assert found is not None
    assert (found.domain, found.road, found.ok, found.reason) == ("b.test", "smtp", True, None)
    assert found.latency == pytest.approx(0.7)


def test_reused_connection_and_original_recipient_are_understood() -> None:
    text = line().replace("relay=", "orig_to=<x@y.test>, relay=").replace("delay=", "conn_use=2, delay=")
    assert read(text) is not None


def test_domain_is_canonical() -> None:
    found = read(line(to="Bob@B.TEST"))
    assert found is not None
    assert found.domain == "b.test"
    literal = read(line(to="bob@[192.0.2.1]"))
    assert literal is not None
    assert literal.domain == "[192.0.2.1]"


@pytest.mark.parametrize(
    ("dsn", "status", "reason"),
    [
        ("4.4.1", "deferred (connect to mx.b.test[192.0.2.1]:25: Connection refused)", "connect"),
        ("4.4.1", "deferred (connect to mx.b.test[192.0.2.1]:25: Connection timed out)", "timeout"),
        ("4.4.1", "deferred (connect to mx.b.test[192.0.2.1]:25: No route to host)", "connect"),
        ("4.4.2", "deferred (lost connection with mx.b.test[192.0.2.1] while sending RCPT TO)", "network"),
        (
            "5.4.4",
            "bounced (Host or domain name not found. Name service error for name=b.test type=MX: x)",
            "dns",
        ),
        ("4.7.5", "deferred (Server certificate not trusted)", "tls"),
        (
            "5.1.1",
            "bounced (host mx.b.test[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command))",
            "smtp-5yz",
        ),
        (
            "4.2.0",
            "deferred (host mx.b.test[192.0.2.1] said: 450 4.2.0 TLS timed out (in reply to DATA))",
            "smtp-4yz",
        ),
        ("4.3.0", "deferred (something new)", "smtp-4yz"),
    ],
)
def test_failures_have_reasons_from_a_closed_list(dsn: str, status: str, reason: str) -> None:
    found = read(line(dsn=dsn, status=status))
    assert found is not None
    assert (found.ok, found.latency, found.reason) == (False, None, reason)


@pytest.mark.parametrize("status", ["sent (250 2.0.0 OK)", "deferred (host 127.0.0.1 said: 451 4.4.1 Peer)"])
def test_handed_back_to_us_is_a_failure_of_smtp_whatever_became_of_it(status: str) -> None:
    found = read(line(relay="127.0.0.1[127.0.0.1]:10027", status=status))
    assert found is not None
    assert (found.ok, found.reason) == (False, "handed-back")


def test_recipients_of_one_transaction_are_one_attempt() -> None:
    transactions = Transactions()
    assert read(line(to="ann@b.test"), transactions) is not None
    assert read(line(to="bob@b.test"), transactions) is None
    assert read(line(to="bob@b.test", queue_id="other"), transactions) is not None
    later = line(to="ann@b.test", delays="300/0/0.1/0.2")
    assert read(later, transactions) is not None, "the next try of a deferred message is another attempt"


@pytest.mark.parametrize(
    "text",
    [
        "connect to mx.b.test[192.0.2.1]:25: Connection refused",
        "Untrusted TLS connection established to mx.b.test[192.0.2.1]:25: TLSv1.3 with cipher X",
        "4BkX7d2wPz: removed",
        "4BkX7d2wPz: to=<bob>, relay=none, delay=1, delays=1/0/0/0, dsn=5.1.3, status=bounced (bad address)",
        "",
    ],
)
def test_other_lines_count_nothing(text: str) -> None:
    assert read(text) is None


# Speaks as journalctl does, of a journal that is a file with a message a line; cursors are line numbers.
JOURNALCTL = """#!/usr/bin/env python3
import json, sys, time
after = next((int(one.split("=")[1]) for one in sys.argv if one.startswith("--after-cursor=")), 0)
assert "SYSLOG_IDENTIFIER=postfix/smtp-mx/smtp" in sys.argv and "--follow" in sys.argv
for number, message in enumerate(open(sys.argv[0] + ".journal"), 1):
    if number > after:
        entry = {"MESSAGE": message.rstrip(), "__CURSOR": str(number)}
        print(json.dumps(entry | {"__REALTIME_TIMESTAMP": "1900000000000000"}), flush=True)
time.sleep(60)
"""


def test_restart_neither_loses_nor_doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "journalctl"
    program.write_text(JOURNALCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    journal = tmp_path / "journalctl.journal"
    peers = Peers(open_store(f"sqlite:///{tmp_path}/store.sqlite"))

    def count(attempts: int) -> None:
        follower = Follower(peers, HTTPS_ONLY)
        follower.start()
        deadline = time.monotonic() + 10
        while sum(row.attempts for row in peers.list()) < attempts:
            assert time.monotonic() < deadline, peers.list()
        follower.stop()
        follower.join(10)
        assert not follower.is_alive()

    first = [
        line(queue_id="A"),
        line(queue_id="B", status="deferred (connect to b.test: Connection refused)"),
    ]
    journal.write_text("\n".join(first) + "\n")
    count(2)
    journal.write_text("\n".join([*first, "noise", line(queue_id="C", to="x@c.test")]) + "\n")
    count(3)
    assert {row.domain: row.attempts for row in peers.list()} == {"b.test": 2, "c.test": 1}
