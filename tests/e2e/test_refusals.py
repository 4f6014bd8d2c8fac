"""Refusals on each SMTP port, with the replies that clients and peers parse."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.chat import journal, pgp, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.person import Person
from tests.chat.queue_log import LoggedDelivery, queue_files
from tests.e2e.conftest import Login
from tests.lab.host import LabHost


@pytest.mark.parametrize("submit", [smtp.submit, smtp.submit_starttls])
def test_plaintext_submission_is_refused(submit: Any, a: LabHost, writer: Login, reader: Login) -> None:
    message = pgp.plain(writer[0], reader[0], pgp.message_id())
    reply = submit(a.ip, writer, [reader[0]], message)
    assert reply.line == "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"
    assert reply.stage == "DATA"


@pytest.mark.parametrize("submit", [smtp.submit, smtp.submit_starttls])
def test_encrypted_submission_is_taken(submit: Any, a: LabHost, writer: Login, reader: Login) -> None:
    message = pgp.encrypted(writer[0], reader[0], pgp.message_id())
    assert submit(a.ip, writer, [reader[0]], message).code == 250


def test_from_header_of_someone_else_is_refused(
    a: LabHost, writer: Login, reader: Login, alice: Person
) -> None:
    message = pgp.encrypted(alice.address, reader[0], pgp.message_id())
    reply = smtp.submit(a.ip, writer, [reader[0]], message)
    assert reply.line == f"500 5.7.1 Invalid FROM <{alice.address}> for <{writer[0]}>"


def test_envelope_sender_of_someone_else_is_refused(
    a: LabHost, writer: Login, reader: Login, alice: Person
) -> None:
    message = pgp.encrypted(alice.address, reader[0], pgp.message_id())
    reply = smtp.submit(a.ip, writer, [reader[0]], message, sender=alice.address)
    assert reply.line.startswith("553 5.7.1")


def test_submission_with_wrong_password_is_refused(a: LabHost, writer: Login, reader: Login) -> None:
    message = pgp.encrypted(writer[0], reader[0], pgp.message_id())
    reply = smtp.submit(a.ip, (writer[0], writer[1] + "x"), [reader[0]], message)
    assert (reply.stage, reply.code) == ("AUTH", 535)


def test_port_25_takes_no_mail_for_elsewhere(a: LabHost, mta: LabHost) -> None:
    message = pgp.encrypted(CAROL, CAROL, pgp.message_id())
    reply = smtp.deliver(a.ip, CAROL, [CAROL], message)
    assert (reply.stage, reply.code // 100) == ("RCPT", 5)


def test_plaintext_from_an_ordinary_server_bounces_there(mta: LabHost, alice: Person) -> None:
    mid = pgp.message_id(mta.domain)
    delivery = _bounced(mta, alice.address, mid, pgp.plain(CAROL, alice.address, mid))
    assert "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail" in delivery.text


def test_encrypted_but_unsigned_from_an_ordinary_server_bounces_there(mta: LabHost, alice: Person) -> None:
    mid = pgp.message_id(mta.domain)
    # mta.lab signs for its own users only.
    delivery = _bounced(mta, alice.address, mid, pgp.encrypted("carol@unsigned.lab", alice.address, mid))
    assert "554 5.7.1 No DKIM signature found" in delivery.text


def _bounced(mta: LabHost, recipient: str, mid: str, message: bytes) -> LoggedDelivery:
    began = time.time()
    assert smtp.deliver(mta.ip, CAROL, [recipient], message).code == 250

    def bounced() -> LoggedDelivery | None:
        files = queue_files(journal.read(mta, began - 0.5))
        found = [one for file in files if file.message_id == mid for one in file.deliveries]
        return next((one for one in found if one.status == "bounced"), None)

    return until("mta.lab bounces it", bounced, 30, every=0.3)
