"""`chatmailctl probe` on a real relay, against a relay, a user and a mail server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chat import relay
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.e2e.conftest import Login
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS

pytestmark = pytest.mark.usefixtures("_https_afresh")


def probe(host: LabHost, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit status and what it found, by road; the last attempt of each."""
    status, found = relay.asked(host, "probe", *words)
    return status, {one["road"]: one for one in found}


def steps(attempt: dict[str, Any]) -> list[str]:
    return [one["name"] for one in attempt["steps"]]


def test_a_relay_is_known_by_both_roads_without_a_user(a: LabHost, b: LabHost) -> None:
    accounts = relay.ctl(b, "account", "list")
    status, found = probe(a, b.domain)
    assert status == 0, found
    assert found["https"]["identity"] == "this relay software"
    assert steps(found["https"]) == ["DNS", "connect", "TLS", "proof", "POST", "answer"]
    assert found["https"]["reply"].startswith("550 5.1.1 ")
    assert found["smtp"]["identity"].startswith("mail server")
    assert steps(found["smtp"]) == ["DNS", "connect", "greeting", "EHLO", "TLS", "MAIL", "RCPT"]
    assert "TLSv1.3" in found["smtp"]["steps"][4]["found"]
    assert relay.ctl(b, "account", "list") == accounts
    assert all(step["seconds"] > 0 for one in found.values() for step in one["steps"])


def test_a_user_gets_one_message_by_each_road(a: LabHost, b: LabHost, reader: Login) -> None:
    status, found = probe(a, reader[0])
    assert status == 0, found
    assert [found[road]["code"] for road in ("https", "smtp")] == [250, 250]
    with ImapMailbox(b.ip, *reader) as mailbox:

        def of_probes() -> bool:
            return len([one for one in mailbox.messages() if b"From: <probe-" in one]) == 2

        until("both have come", of_probes, 20, every=0.3)


def test_an_ordinary_mail_server_has_one_road(a: LabHost) -> None:
    status, found = probe(a, CAROL)
    assert status == 1
    assert (found["https"]["code"], found["https"]["expected"]) == (None, False)
    assert found["https"]["error"]
    assert found["smtp"]["code"] // 100 == 2


def test_mail_for_our_own_host_is_not_tried(a: LabHost) -> None:
    said = a.run(f"{PROGRAMS}/chatmailctl probe {a.domain}", check=False)
    assert said.returncode == 1
    assert "goes nowhere: 550 5.4.6" in said.stderr
