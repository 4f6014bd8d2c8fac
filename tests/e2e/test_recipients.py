"""Each spelling of a recipient gets one answer on every entry point: delivered, or refused at once."""

from __future__ import annotations

import email
import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.chat import mxdeliv, pgp, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox, new_account
from tests.e2e.conftest import Login
from tests.e2e.recipients import DELIVERED, DELIVERED_OVER_HTTPS, REFUSED, Refused
from tests.lab import Lab
from tests.lab.host import LabHost

PEERS_ALICE = "alice12345@peer.lab"
SECONDS = 60.0

each_refused = pytest.mark.parametrize("refused", REFUSED, ids=str)


@pytest.fixture
def account(a: LabHost) -> Login:
    """An account on _a.lab whose rate of sending nothing has worn."""
    return new_account(a)


@pytest.fixture(scope="module")
def owner(a: LabHost) -> Login:
    """The account whose local part the table's texts hold."""
    return new_account(a)


def _filled(text: str, a: LabHost, owner: Login) -> str:
    user, _, domain = owner[0].partition("@")
    return text.format(
        user=user, user_upper=user.upper(), domain=domain, domain_upper=domain.upper(), ip=a.ip
    )


@each_refused
def test_a_peer_is_told_at_rcpt(refused: Refused, a: LabHost, owner: Login) -> None:
    with smtp.peer(a.ip) as session:
        _, reply = smtp.transact(session, PEERS_ALICE, [_filled(refused.text, a, owner)], b"")
    assert (reply.stage, reply.line[: len(refused.smtp)]) == ("RCPT", refused.smtp)


@each_refused
def test_a_peer_is_told_the_same_over_https(refused: Refused, a: LabHost, owner: Login) -> None:
    # requests writes Latin-1, and peers that know no better write UTF-8.
    recipient = _filled(refused.text, a, owner).encode(errors="surrogateescape").decode("latin-1")
    message = pgp.encrypted(PEERS_ALICE, owner[0], pgp.message_id())
    answer = mxdeliv.post(a, PEERS_ALICE, [recipient], message)
    assert answer.line.startswith(refused.https)


@each_refused
def test_alone_it_is_refused_at_submission(
    refused: Refused, a: LabHost, owner: Login, account: Login
) -> None:
    message = pgp.encrypted(account[0], owner[0], pgp.message_id())
    for session in (smtp.logged_in(a.ip, account), smtp.logged_in_by_starttls(a.ip, account)):
        with session as connection:
            accepted, reply = smtp.transact(
                connection, account[0], [_filled(refused.text, a, owner)], message
            )
        assert accepted[0].startswith("250 ")
        assert (reply.stage, reply.line[: len(refused.alone)]) == ("DATA", refused.alone)


@each_refused
def test_among_others_it_comes_back_and_they_have_their_mail(
    refused: Refused, a: LabHost, owner: Login, account: Login
) -> None:
    mid = pgp.message_id()
    message = pgp.encrypted(account[0], account[0], mid)
    recipients = [_filled(refused.text, a, owner), account[0]]
    with smtp.logged_in(a.ip, account) as session:
        accepted, reply = smtp.transact(session, account[0], recipients, message)
    assert [line[:4] for line in accepted] == ["250 ", "250 "]
    assert reply.code == 250

    messages = _arrived(a, account, mid, count=2)
    assert sum(b"multipart/report" not in one for one in messages) == 1
    # As text: its octets above 127 are UTF-8.
    bounce = next(one for one in messages if b"multipart/report" in one).decode()
    report: Any = email.message_from_string(bounce)
    _, failed = next(
        one for one in report.walk() if one.get_content_type() == "message/delivery-status"
    ).get_payload()
    assert failed["Status"] == refused.status
    assert failed["Final-Recipient"] == f"rfc822; {_filled(refused.named or refused.text, a, owner)}"


def test_where_all_of_several_are_malformed_all_come_back(a: LabHost, account: Login) -> None:
    mid = pgp.message_id()
    recipients = ["x@[300.1.1.1]", "y@[300.1.1.1]", f"z@[{a.ip}]"]
    with smtp.logged_in(a.ip, account) as session:
        message = pgp.encrypted(account[0], account[0], mid)
        accepted, reply = smtp.transact(session, account[0], recipients, message)
    assert [line[:4] for line in accepted] == ["250 "] * 3
    assert reply.code == 250
    (bounce,) = _arrived(a, account, mid, count=1)
    named = re.findall(r"^Final-Recipient: rfc822; (.+?)\r?$", bounce.decode(), re.MULTILINE)
    assert sorted(named) == sorted(recipients)


@pytest.mark.parametrize("text", DELIVERED)
def test_another_spelling_is_delivered(
    text: str, a: LabHost, lab: Lab, account: Login, writer: Login
) -> None:
    mids = [pgp.message_id() for _ in range(3)]
    recipient = _filled(text, a, account)
    with smtp.peer(a.ip) as session:
        replies = [smtp.transact(session, PEERS_ALICE, [recipient], _signed(account, mids[0], lab))]
    with smtp.logged_in(a.ip, account) as session:
        for mid, recipients in ((mids[1], [recipient]), (mids[2], [recipient, "nobody1234@mta.lab"])):
            message = pgp.encrypted(account[0], account[0], mid)
            replies.append(smtp.transact(session, account[0], recipients, message))
    assert [reply.code for _, reply in replies] == [250] * 3
    for mid in mids:
        _arrived(a, account, mid, count=1)


@pytest.mark.parametrize("text", DELIVERED_OVER_HTTPS)
def test_another_spelling_is_delivered_over_https(text: str, a: LabHost, lab: Lab, account: Login) -> None:
    mid = pgp.message_id()
    answer = mxdeliv.post(a, PEERS_ALICE, [_filled(text, a, account)], _signed(account, mid, lab))
    assert (answer.status, answer.line[:9]) == (200, "250 2.0.0")
    _arrived(a, account, mid, count=1)


def _signed(recipient: Login, mid: str, lab: Lab) -> bytes:
    return signature.sign(pgp.encrypted(PEERS_ALICE, recipient[0], mid), "peer.lab", lab.paths)


def _arrived(a: LabHost, login: Login, mid: str, count: int) -> Sequence[bytes]:
    """The messages with `mid` in them, once there are `count`: the message itself, and the report on it."""

    def found() -> Sequence[bytes] | None:
        with ImapMailbox(a.ip, *login) as mailbox:
            messages = [one for one in mailbox.messages() if mid.encode() in one]
        return messages if len(messages) >= count else None

    return until(f"{count} messages with {mid}", found, SECONDS, every=0.3)
