"""`chatmailctl metrics`: what it collects, and the file that it replaces. Scripts stand for programs."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chatmail_milter.calls import coturn
from chatmail_milter.ctl import metrics
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers
from tests.unit.chatmailctl import run
from tests.unit.ctl.test_queue import message, write

pytestmark = pytest.mark.usefixtures("store")
# As Dovecot 2.3.19 prints them.
DOVEADM = r"""#!/bin/sh
case "$*" in
    *"stats dump")
        printf 'metric_name\tfield\tcount\tsum\n'
        printf 'new_mail\tduration\t9\t90\nauth_successes\tduration\t7\t70\n'
        printf 'auth_failures\tduration\t2\t20\n' ;;
    *"who -1")
        printf 'username\tproto\tpid\tip\n'
        printf 'alice123@a.test\timap\t11\t192.0.2.7\nalice123@a.test\timap\t22\t192.0.2.7\n'
        printf 'bob12345@a.test\timap\t22\t192.0.2.8\nbob12345@a.test\tpop3\t22\t192.0.2.8\n' ;;
esac
"""


@pytest.fixture(autouse=True)
def doveadm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "doveadm"
    program.write_text(DOVEADM)
    program.chmod(0o755)
    monkeypatch.setenv("CHATMAIL_DOVEADM", str(program))
    for pid, name in ((11, "imap"), (22, "imap-hibernate")):
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        (tmp_path / "proc" / str(pid) / "comm").write_text(f"{name}\n")
    monkeypatch.setattr(metrics, "_PROCESSES", tmp_path / "proc")
    return program


def test_store_queue_and_dovecot_are_asked_and_nobody_is_named(store: str, postqueue: Path) -> None:
    engine = open_store(store)
    Accounts(engine).create("alice123@a.test", "{ARGON2ID}x")
    Peers(engine).add(
        [Contact("peer.test", "https", False, None, "http-502", datetime.now(UTC), words="no 192.0.2.9")]
    )
    write(postqueue, message("AAAA1", "x@peer.test"), message("BBBB2", "x@peer.test", queue="hold"))
    result = run("metrics")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    for line in (
        "chatmail_accounts 1.0",
        'chatmail_attempts_total{outcome="failure",reason="http-5xx",road="https"} 1.0',
        'chatmail_queue_messages{queue="hold"} 1.0',
        'chatmail_logins_total{outcome="success"} 7.0',
        'chatmail_logins_total{outcome="failure"} 2.0',
        'chatmail_imap_connections{state="active"} 1.0',
        'chatmail_imap_connections{state="idle"} 2.0',
    ):
        assert line in lines
    assert not any(word in result.stdout for word in ("@", "192.0.2", "peer.test", "a.test"))


def test_what_does_not_answer_is_left_out_and_is_no_error(doveadm: Path) -> None:
    doveadm.write_text("#!/bin/sh\nexit 75\n")
    result = run("metrics")
    assert result.exit_code == 0
    assert "No figures of Dovecot: doveadm stats: exit status 75" in result.stderr
    assert 'chatmail_source_up{source="dovecot"} 0.0' in result.stdout
    assert 'chatmail_source_up{source="store"} 1.0' in result.stdout


def test_coturn_is_looked_for_where_apps_are_told_of_it(
    store: str, postqueue: Path, doveadm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "coturn" not in run("metrics").stdout
    with Path(os.environ["CHATMAIL_CONFIG"]).open("a") as file:
        file.write('[metadata]\nturn = "a.test:3478"\n')
    monkeypatch.setattr(coturn, "USER", "nobody-of-this-name")
    result = run("metrics")
    assert 'chatmail_source_up{source="coturn"} 0.0' in result.stdout
    assert "No figures of coturn" in result.stderr
    assert result.exit_code == 0


@pytest.mark.usefixtures("postqueue")
def test_a_file_is_replaced_at_once_and_everybody_may_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "collector"
    directory.mkdir()
    file = directory / "chatmail.prom"
    file.write_text("old")
    with file.open() as reader:
        assert run("metrics", "--write", str(file)).exit_code == 0
        assert reader.read() == "old"
    assert "chatmail_accounts 0.0\n" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644
    assert os.listdir(directory) == ["chatmail.prom"]


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    result = run("metrics", "--write", str(tmp_path / "none" / "file"))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(
        "Error: name a file in a directory that can be written: "
    )
