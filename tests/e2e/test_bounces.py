"""Undeliverable mail comes back as a bounce that Delta Chat shows; hostile DNS records cause no loop."""

from __future__ import annotations

import email
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.bounces.causes import CAUSES, BounceCause
from tests.bounces.observe import look
from tests.chat import carol, journal, pgp, relay, settings, signature, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import Person
from tests.chat.queue_log import queue_files
from tests.chat.stage import Stage
from tests.e2e.conftest import Login
from tests.lab import Lab
from tests.lab.host import LabHost

BOUNCE_SECONDS = 60.0
# Sockets inside the host.
INSIDE = ("private/", "chatmail/", "127.0.0.1", ".sock")


@pytest.fixture(scope="module")
def anna(stage: Stage, a: LabHost) -> Person:
    """Someone on _a.lab whose profile is as new ones are: what is not encrypted is ignored."""
    return stage.newcomer(a.domain)


@pytest.fixture(scope="module")
def _signatures_kept(a: LabHost) -> Iterator[None]:
    """Deliveries to mailboxes leave the header as it is, so that a mailbox shows what would go to a peer."""
    # Put back as a file: postconf writes in a way of its own.
    a.run("cd /etc/postfix && cp -p master.cf master.cf.before && postconf -P lmtp/unix/lmtp_header_checks=")
    settings.reload_postfix(a)
    yield
    a.run("cd /etc/postfix && mv master.cf.before master.cf")
    settings.reload_postfix(a)


def _name(cause: BounceCause) -> str:
    return cause.title


@pytest.mark.parametrize("cause", CAUSES, ids=_name)
def test_user_is_told_why(cause: BounceCause, lab: Lab, alice: Person) -> None:
    error = " ".join(look(cause, lab, alice).error.split())
    # Of a refused recipient's status Postfix does not know every last number.
    assert (f" {cause.status[:3]}." if cause.early else f" {cause.status} ") in error


@pytest.mark.parametrize("cause", [one for one in CAUSES if one.early], ids=_name)
def test_user_who_sees_no_bounce_is_told_what_is_known_at_once(
    cause: BounceCause, lab: Lab, anna: Person
) -> None:
    assert look(cause, lab, anna).error


def test_what_only_the_peer_knows_is_not_seen_by_such_a_user(lab: Lab, anna: Person) -> None:
    # The app's doing: should it ever show bounces again, docs/bounces.md is to be made anew.
    (cause,) = (one for one in CAUSES if one.title == "Unknown user, on another chatmail relay")
    assert look(cause, lab, anna).error == ""


@pytest.mark.usefixtures("_signatures_kept")
@pytest.mark.parametrize("cause", [one for one in CAUSES if one.encrypted], ids=_name)
def test_one_of_several_is_bounced_with_the_real_status_and_no_body(
    cause: BounceCause, lab: Lab, a: LabHost, writer: Login
) -> None:
    mid = pgp.message_id()
    with cause.circumstances(lab) as address:
        message = pgp.encrypted(writer[0], address, mid)
        assert smtp.submit(a.ip, writer, [address, writer[0]], message).code == 250

        def arrived() -> bytes | None:
            if cause.times_out:
                a.run("postqueue -f")
            with ImapMailbox(a.ip, *writer) as mailbox:
                found = [one for one in mailbox.messages() if mid.encode() in one]
            return next((one for one in found if b"multipart/report" in one), None)

        bounce = until("the bounce", arrived, BOUNCE_SECONDS, every=0.5)
    report: Any = email.message_from_bytes(bounce)
    parts: dict[str, Any] = {one.get_content_type(): one for one in report.get_payload()}
    assert list(parts) == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    _, failed = parts["message/delivery-status"].get_payload()
    assert failed["Status"] == cause.status
    assert failed["Final-Recipient"] == f"rfc822; {address}"
    assert cause.status in failed["Diagnostic-Code"]
    assert f"Message-ID: <{mid}>" in parts["text/rfc822-headers"].get_payload()
    assert b"BEGIN PGP" not in bounce
    # Who said it in the end may be the relay itself, as the fallback of smtp(8).
    told = bounce.decode().replace("Remote-MTA: dns; 127.0.0.1", "")
    assert [word for word in INSIDE if word in told] == []
    assert signature.verified(bounce) == [a.domain]


@pytest.mark.parametrize(
    ("domain", "address"), [("loopback.lab", "127.0.0.1"), ("private.lab", "192.168.77.7")]
)
def test_special_purpose_address_is_never_connected_to(
    alice: Person, a: LabHost, domain: str, address: str
) -> None:
    stranger = f"someone123@{domain}"
    sent = alice.send(alice.chat_with_stranger(stranger), "knock knock")
    alice.sent(sent, BOUNCE_SECONDS)

    try:
        # DNS may be put right.
        until("it is deferred", lambda: relay.is_deferred(a, stranger), BOUNCE_SECONDS, every=0.3)
    finally:
        for row in relay.queued(a, stranger):
            a.run(["postsuper", "-d", row["queue_id"]])

    files = [
        file for file in queue_files(journal.read(a, sent.at - 0.5)) if file.message_id == sent.message_id
    ]
    # It never came in again by a road from outside, as it would have from this host's own 443 or 25.
    services = {file.service for file in files}
    assert "submission" in services
    assert services <= {"submission", "reinject"}
    assert not any(f"[{address}]" in one.relay for file in files for one in file.deliveries)


def test_mail_to_an_ordinary_server_arrives_by_smtp(alice: Person, a: LabHost, mta: LabHost) -> None:
    sent = alice.send(alice.chat_with_stranger(CAROL), "hello, plain world")
    alice.sent(sent, BOUNCE_SECONDS)

    arrived = partial(carol.find, mta, sent.message_id)
    until("the mail lies in Carol's mailbox", arrived, BOUNCE_SECONDS, every=0.3)

    def by_smtp() -> bool:
        files = queue_files(journal.read(a, sent.at - 0.5))
        tries = [one for file in files if file.message_id == sent.message_id for one in file.deliveries]
        return any((one.agent, one.status) == ("smtp-mx/smtp", "sent") for one in tries)

    until("the journal says that smtp(8) brought it", by_smtp, 10)
