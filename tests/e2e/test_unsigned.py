"""Mail of peers that sign nothing (madmail up to 2.23) is accepted from their own hosts only."""

from __future__ import annotations

import secrets

import pytest

from tests.chat import pgp, relay, signature
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.e2e.conftest import Login
from tests.e2e.doors import Door
from tests.lab import Lab
from tests.lab.host import LabHost

# Who writes from this machine's address: by the domain's own record, by its MX, and where DNS fails.
OWN, BY_MX, TROUBLE = "unsigned.lab", "unsigned-mx.lab", "unsigned-trouble.lab"
# Whose hosts are elsewhere.
ELSEWHERE = "peer.lab"

NO_SIGNATURE = "554 5.7.1 No DKIM signature found"
NO_VALID_SIGNATURE = "554 5.7.1 No valid DKIM signature found"
NOT_NOW = "451 4.7.5 Sender's domain lookup failed, try again later"
CLEARTEXT = "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"
BLOCKED = "554 5.7.1 Sender or network is blocked here"


def _author(domain: str) -> str:
    return f"someone12345@{domain}"


@pytest.mark.parametrize("domain", [OWN, BY_MX])
def test_from_the_domain_s_own_host(door: Door, domain: str, b: LabHost, reader: Login) -> None:
    mid = pgp.message_id()
    message = pgp.encrypted(_author(domain), reader[0], mid)
    assert door(b, _author(domain), [reader[0]], message).startswith("250 ")
    with ImapMailbox(b.ip, *reader) as mailbox:
        arrived = until("it arrives", lambda: mailbox.find(mid), 20)
    assert arrived.startswith(f"Return-Path: <{_author(domain)}>\r\n".encode())


@pytest.mark.parametrize("domain", [ELSEWHERE, f"sub.{OWN}", "nullmx.lab", "nowhere.lab"])
def test_from_elsewhere(door: Door, domain: str, b: LabHost, reader: Login) -> None:
    message = pgp.encrypted(_author(domain), reader[0], pgp.message_id())
    assert door(b, _author(OWN), [reader[0]], message) == NO_SIGNATURE


def test_where_dns_fails(door: Door, b: LabHost, reader: Login) -> None:
    message = pgp.encrypted(_author(TROUBLE), reader[0], pgp.message_id())
    assert door(b, _author(TROUBLE), [reader[0]], message) == NOT_NOW


def test_a_signature_that_fails_is_refused_all_the_same(
    door: Door, lab: Lab, b: LabHost, reader: Login
) -> None:
    message = pgp.encrypted(_author(OWN), reader[0], pgp.message_id())
    signed = signature.sign(message, ELSEWHERE, lab.paths)
    assert door(b, _author(OWN), [reader[0]], signed) == NO_VALID_SIGNATURE


def test_in_the_name_of_a_user_of_ours(door: Door, b: LabHost, reader: Login) -> None:
    message = pgp.encrypted(f"someone12345@{b.domain}", reader[0], pgp.message_id())
    assert door(b, _author(OWN), [reader[0]], message) == NO_SIGNATURE


def test_the_gate_and_the_blocklist_apply(door: Door, b: LabHost, reader: Login) -> None:
    clear = (
        f"From: {_author(OWN)}\r\nTo: {reader[0]}\r\nMessage-ID: {pgp.message_id()}\r\n\r\nHello\r\n".encode()
    )
    assert door(b, _author(OWN), [reader[0]], clear) == CLEARTEXT
    message = pgp.encrypted(_author(OWN), reader[0], pgp.message_id())
    relay.operate(b, "block", "add", OWN)
    try:
        assert door(b, _author(OWN), [reader[0]], message) == BLOCKED
    finally:
        relay.operate(b, "block", "remove", OWN)


def test_the_operator_sees_whose_mail_is_refused_and_why(door: Door, b: LabHost, reader: Login) -> None:
    domain = f"{secrets.token_hex(4)}.nowhere.lab"
    message = pgp.encrypted(_author(domain), reader[0], pgp.message_id())
    assert door(b, _author(domain), [reader[0]], message) == NO_SIGNATURE

    def shown() -> bool:
        rows = relay.ctl(b, "peers")
        return any(row["domain"] == domain and row["reasons"].get("dkim-none") == 1 for row in rows)

    until("chatmailctl peers names the domain and the reason", shown, 20)
    assert "dkim-none" in relay.operate(b, "peers", "show", domain)
