"""Mail that can't arrive comes back as a bounce that Delta Chat shows; traps in DNS catch nobody."""

from __future__ import annotations

import pytest

from tests.chat import journal
from tests.chat.deadline import until
from tests.chat.person import OUT_FAILED, Person
from tests.chat.queue_log import queue_files
from tests.lab.host import LabHost

BOUNCE_SECONDS = 60.0


def _bounce(person: Person, address: str) -> str:
    """Send to an address that can't be reached; the error that Delta Chat shows."""
    sent = person.send(person.chat_with_stranger(address), "is anyone there?")
    person.sent(sent, BOUNCE_SECONDS)
    _, error = person.failed(sent, BOUNCE_SECONDS)
    assert person.message(sent.id)["state"] == OUT_FAILED
    return error


def test_unknown_user_at_a_chatmail_peer(alice: Person, b: LabHost) -> None:
    assert "550 5.1.1" in " ".join(_bounce(alice, f"nobody12345@{b.domain}").split())


def test_unknown_user_at_home(alice: Person, a: LabHost) -> None:
    assert "550 5.1.1" in _bounce(alice, f"nobody12345@{a.domain}")


def test_unknown_user_at_an_ordinary_server(alice: Person, mta: LabHost) -> None:
    assert "550 5.1.1" in _bounce(alice, f"nobody12345@{mta.domain}")


@pytest.mark.parametrize(
    ("domain", "status"),
    [("nullmx.lab", "5.1.10"), ("nowhere.lab", "5.1.2")],
)
def test_domain_that_takes_no_mail(alice: Person, domain: str, status: str) -> None:
    assert status in _bounce(alice, f"someone123@{domain}")


@pytest.mark.parametrize(
    ("domain", "address"), [("loopback.lab", "127.0.0.1"), ("private.lab", "192.168.77.7")]
)
def test_special_purpose_address_is_never_connected_to(
    alice: Person, a: LabHost, domain: str, address: str
) -> None:
    sent = alice.send(alice.chat_with_stranger(f"someone123@{domain}"), "knock knock")
    alice.sent(sent, BOUNCE_SECONDS)
    _, error = alice.failed(sent, BOUNCE_SECONDS)
    assert domain in error

    files = [
        file for file in queue_files(journal.read(a, sent.at - 0.5)) if file.message_id == sent.message_id
    ]
    # It never came in again by a road from outside, as it would have from this host's own 443 or 25.
    assert {file.service for file in files} <= {"submission", "reinject"}
    assert not any(f"[{address}]" in one.relay for file in files for one in file.deliveries)


def test_mail_to_an_ordinary_server_arrives_by_smtp(alice: Person, a: LabHost, mta: LabHost) -> None:
    sent = alice.send(alice.chat_with_stranger(f"carol@{mta.domain}"), "hello, plain world")
    alice.sent(sent, BOUNCE_SECONDS)

    def arrived() -> bool:
        return sent.message_id in mta.run("cat /home/carol/Maildir/new/*", check=False).stdout

    until("the mail lies in Carol's mailbox", arrived, BOUNCE_SECONDS, every=0.3)
    files = [
        file for file in queue_files(journal.read(a, sent.at - 0.5)) if file.message_id == sent.message_id
    ]
    assert any(
        one.agent == "smtp-mx/smtp" and one.status == "sent" for file in files for one in file.deliveries
    )
