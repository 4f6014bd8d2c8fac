"""`chatmailctl status`: the relay on one screen. A script is in place of `postqueue`; systemd is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chatmail_milter.ctl import doctor
from chatmail_milter.doctor import Finding, FindingState, good
from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers
from tests.unit.chatmailctl import rows, run
from tests.unit.ctl.test_queue import message, write

pytestmark = pytest.mark.usefixtures("store")


def services(_config: object) -> Iterator[Finding]:
    yield good("services", "dovecot.service", "runs")
    yield Finding("services", "nginx.service", FindingState.BAD, "is failed (failed)", "why", "mend")


@pytest.fixture(autouse=True)
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sockets", "machine", "queue"):
        monkeypatch.setitem(doctor.CHECKS, name, lambda _config: iter(()))
    monkeypatch.setitem(doctor.CHECKS, "services", services)


@pytest.fixture
def busy(store: str, postqueue: Path) -> None:
    """Three messages to a peer, one of which failed, and two that wait."""
    now = datetime.now(UTC)
    took = Contact("b.test", "https", True, 0.02, None, now)
    Peers(open_store(store)).add([took, took, Contact("b.test", "https", False, None, "tls", now)])
    write(postqueue, message("AAAA1", "x@b.test"), message("BBBB2", "x@b.test", queue="hold"))


@pytest.mark.usefixtures("busy")
def test_one_screen_has_services_traffic_queue_accounts_and_findings() -> None:
    result = run("status")
    assert result.exit_code == 0
    said = result.output
    assert re.search(r"to peers, HTTPS +3 +66\.6 % +3 +0\.1 +66\.6 %", said)
    assert "nginx.service is failed (failed)" in said
    assert "deferred 1, hold 1; 2468 B, the oldest came 5 min ago" in said
    assert "Accounts    0;" in said
    assert "bad 1; see `chatmailctl doctor`" in said
    assert len(said.splitlines()) < 25
    assert all(len(line) <= 100 for line in said.splitlines() if not line.startswith("Disk"))


@pytest.mark.usefixtures("busy")
def test_json_has_octets_and_shares() -> None:
    found = rows("status")
    assert (found["traffic"]["day"]["out-https"]["attempts"], found["queue"]["size"]) == (3, 2468)
    assert found["traffic"]["hour"]["out-smtp"]["share"] is None
    assert found["findings"] == {"good": 1, "unknown": 0, "soon": 0, "bad": 1}
    assert found["missing"] == {}


def test_what_is_away_is_said_and_the_rest_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store.sqlite").write_text("this is no database, but it is long enough to be one" * 30)
    monkeypatch.setattr("chatmail_milter.ctl.postqueue.shutil.which", lambda _name: None)
    result = run("status")
    assert result.exit_code == 1
    assert "No traffic" in result.output
    assert "No queue    run this on the relay itself: there is no postqueue here" in result.output
    assert "nginx.service is failed" in result.output
