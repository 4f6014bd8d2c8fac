"""Accounts are created by their first login, protected by their password, and offered by `POST /new`."""

from __future__ import annotations

import imaplib
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.chat import pgp, smtp
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.lab.host import LabHost


def _get_in(ip: str, address: str, password: str) -> bool:
    try:
        with ImapMailbox(ip, address, password):
            return True
    except imaplib.IMAP4.error:
        return False


def _is_known(host: LabHost, address: str) -> bool:
    """Asked on port 25, as a peer would learn it."""
    reply = smtp.deliver(host.ip, "stranger@mta.lab", [address], pgp.plain("x@mta.lab", address, "x@mta.lab"))
    if reply.stage == "RCPT":
        assert reply.line.startswith("550 5.1.1")
        return False
    return True


def test_first_login_makes_the_account(b: LabHost) -> None:
    address, password = fresh_address(b.domain), fresh_password()
    assert not _is_known(b, address)
    assert _get_in(b.ip, address, password)
    assert _is_known(b, address)
    assert _get_in(b.ip, address, password)


def test_first_submission_makes_the_account(a: LabHost, reader: Login) -> None:
    login = fresh_address(a.domain), fresh_password()
    message = pgp.encrypted(login[0], reader[0], pgp.message_id())
    assert smtp.submit(a.ip, login, [reader[0]], message).code == 250
    assert _get_in(a.ip, *login)


def test_wrong_password_is_refused_and_changes_nothing(b: LabHost, reader: Login) -> None:
    assert not _get_in(b.ip, reader[0], fresh_password())
    assert _get_in(b.ip, *reader)


@pytest.mark.parametrize(
    ("address", "password"),
    [
        ("short@_b.lab", "long enough password"),
        ("muchtoolongforanaddress@_b.lab", "long enough password"),
        ("spaces(and)such@_b.lab", "long enough password"),
        ("someone12345@_a.lab", "long enough password"),
        ("someone12345@_b.lab", "8 signs."),
    ],
)
def test_login_against_the_rules_makes_nothing(b: LabHost, address: str, password: str) -> None:
    assert not _get_in(b.ip, address, password)
    if address.endswith("@_b.lab") and "(" not in address:
        assert not _is_known(b, address)


def test_ten_logins_at_once_make_one_account(b: LabHost) -> None:
    address = fresh_address(b.domain)
    passwords = [fresh_password() for _ in range(2)] * 5
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda password: _get_in(b.ip, address, password), passwords))
    admitted = {password for password, got_in in zip(passwords, results, strict=True) if got_in}
    assert len(admitted) == 1
    assert results.count(True) == 5


def test_new_hands_out_credentials_that_work(b: LabHost) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = requests.post(f"https://{b.ip}/new", headers={"Host": b.domain}, verify=False, timeout=120)  # noqa: S501  (the lab's own certificate)
    assert answer.status_code == 200
    fresh = answer.json()
    assert fresh["email"].endswith(f"@{b.domain}")
    assert _get_in(b.ip, fresh["email"], fresh["password"])
