"""Deployed senders (docs/wire.md, 1) to a real relay through nginx, octet by octet.

What the app makes of them by itself is in `tests/blackbox/web/test_deployed_senders.py`.
"""

from __future__ import annotations

import http.client
import re

import pytest

from tests import messages
from tests.blackbox.web.senders import DONE, SENDERS, PeerProgram
from tests.blackbox.web.smtp_line import SmtpLine
from tests.chat import capture, pgp, signature
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox, new_account
from tests.chat.person import fresh_address
from tests.e2e.conftest import Login
from tests.e2e.test_mxdeliv_http import connect
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import CONTROL_ADDRESS

PEER = "peer.lab"
SENDER = f"someone12345@{PEER}"
SECONDS = 30.0
UNKNOWN = "550 5.1.1 <{}>: Recipient address rejected: User unknown"
# Only a delivery report may hold such lines: of what is encrypted none begins with a dot.
DOTS = "one\r\n.two\r\n..three\r\n.\r\n...\r\nend\r\n"

each_peer = pytest.mark.parametrize("peer", SENDERS, ids=lambda peer: peer.name)


@pytest.fixture
def two(b: LabHost) -> list[Login]:
    """Two accounts that nobody else writes to."""
    return [new_account(b) for _ in range(2)]


def told(b: LabHost, peer: PeerProgram, sender: str, recipients: list[str], message: bytes) -> list[int]:
    """The status of each request in which this peer sends a message."""
    found = []
    for request in peer.requests(sender, recipients, message):
        with connect(b) as connection:
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            answer.read()
            found.append(answer.status)
    return found


def lies_there(b: LabHost, login: Login, mid: str) -> bytes:
    with ImapMailbox(b.ip, *login) as mailbox:
        found = until("the message arrives", lambda: mailbox.find(mid), SECONDS)
        assert len(mailbox.messages()) == 1
    return found


@each_peer
def test_a_group_gets_its_message_once_each_and_nobody_is_who_he_says(
    peer: PeerProgram, lab: Lab, b: LabHost, two: list[Login]
) -> None:
    before, mid = b.cursor(), pgp.message_id()
    message = signature.sign(pgp.encrypted(SENDER, two[0][0], mid), PEER, lab.paths)
    answers = told(b, peer, SENDER, [address for address, _ in two], message)
    assert {peer.after(status) for status in answers} == {DONE}
    for login in two:
        found = lies_there(b, login, mid)
        assert found.startswith(f"Return-Path: <{SENDER}>\r\n".encode())
        assert found.endswith(message.partition(b"\r\n\r\n")[2])
    # These requests have an X-Real-IP of their own, which is not believed.
    lines = [str(one["MESSAGE"]) for one in b.journal(since=before)]
    clients = {one[1] for line in lines if (one := re.search(r"client=unknown\[(.*?)\]", line))}
    assert CONTROL_ADDRESS in clients
    assert "203.0.113.7" not in clients


@each_peer
def test_a_report_comes_from_nobody_and_its_dots_are_what_was_signed(
    peer: PeerProgram, lab: Lab, b: LabHost, two: list[Login]
) -> None:
    mid = pgp.message_id()
    report = messages.report(f"MAILER-DAEMON@{PEER}").replace(b"1e240@localhost", mid.encode())
    report = report.replace(b"This is the mail system at host b.example.\r\n", DOTS.encode())
    assert DOTS.encode() in report
    signed = signature.sign(report, PEER, lab.paths)
    assert set(told(b, peer, "", [address for address, _ in two], signed)) == {200}
    for login in two:
        found = lies_there(b, login, mid)
        assert found.startswith(b"Return-Path: <>\r\n")
        assert found.endswith(report.partition(b"\r\n\r\n")[2])


def report(
    b: LabHost, peer: PeerProgram, sender: str, recipients: list[str], message: bytes
) -> dict[str, str]:
    """What this peer reports of each recipient, after all ways that it tries."""

    def post(request: bytes) -> int:
        with connect(b) as connection:
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            answer.read()
            return answer.status

    return peer.deliver(post, lambda: SmtpLine(b.ip, 25), sender, recipients, message)


@each_peer
@pytest.mark.parametrize("sender", [SENDER, f"list-bounces+a=b@{PEER}", ""], ids=["author", "list", "null"])
def test_of_a_group_with_an_unknown_user_nobody_is_refused_in_silence(
    peer: PeerProgram, sender: str, lab: Lab, b: LabHost, two: list[Login]
) -> None:
    nobody, mid = fresh_address(b.domain, "nobody"), pgp.message_id()
    message = signature.sign(pgp.encrypted(SENDER, two[0][0], mid), PEER, lab.paths)
    with capture.smtp_peer(lab.host("client").host) as at_home:
        reported = report(b, peer, sender, [two[0][0], nobody, two[1][0]], message)
        if reported[nobody] == DONE:
            assert sender == SENDER
            bounce = at_home.next(SECONDS, mid)
            assert re.search(rb"(?im)^mail from:<>", bounce.head)
            assert f"Final-Recipient: rfc822; {nobody}\r\n".encode() in bounce.message
            assert b"\r\nStatus: 5.1.1\r\n" in bounce.message
            assert two[0][0].encode() not in bounce.message.partition(b"message/delivery-status")[0]
            assert signature.verified(bounce.message) == [b.domain]
        else:
            assert reported[nobody] == UNKNOWN.format(nobody)
            assert at_home.nothing(mid)
    for login in two:
        # filtermail, told of one recipient by SMTP, reports that of all, and sends to none.
        assert reported[login[0]] in (DONE, reported[nobody])
        if reported[login[0]] == DONE:
            assert lies_there(b, login, mid)
        else:
            assert peer.name == "filtermail 0.7.4"
            with ImapMailbox(b.ip, *login) as mailbox:
                assert mailbox.messages() == []


@each_peer
@pytest.mark.parametrize("place", [0, 1, 2])
def test_by_smtp_each_learns_why_a_recipient_was_refused(
    peer: PeerProgram, place: int, lab: Lab, b: LabHost, two: list[Login]
) -> None:
    nobody, mid = fresh_address(b.domain, "nobody"), pgp.message_id()
    message = signature.sign(pgp.encrypted(SENDER, two[0][0], mid), PEER, lab.paths)
    recipients = [address for address, _ in two]
    recipients.insert(place, nobody)
    reported = peer.by_smtp(lambda: SmtpLine(b.ip, 25), SENDER, recipients, message)
    assert reported[nobody] == UNKNOWN.format(nobody)
    others = {reported[address] for address, _ in two}
    assert others == {reported[nobody] if peer.name == "filtermail 0.7.4" else DONE}
