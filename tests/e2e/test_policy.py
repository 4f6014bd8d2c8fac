"""The operator's policy, set by `chatmailctl`, is in force on every way in when the command ends."""

from __future__ import annotations

import imaplib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chat import journal, pgp, relay, signature, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.e2e.doors import Door, port_25
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import CONTROL_ADDRESS, NETWORK

PEER, NEWS = "peer.lab", "news.peer.lab"
AUTHOR, REPORTER = f"someone12345@{PEER}", f"reporter@{NEWS}"

BLOCKED_USER = "550 5.7.1 Your address or network is blocked, ask the operator"
BLOCKED_SENDER = "554 5.7.1 Sender or network is blocked here"
BLOCKED_RECIPIENT = "554 5.7.1 Recipient domain is blocked here"
SUSPENDED = "550 5.7.1 Your account is suspended, ask the operator"
NOT_FEDERATED = "554 5.7.1 This server exchanges no mail with that domain"
SECONDS = 30.0


@contextmanager
def _blocked(host: LabHost, *entries: str) -> Iterator[None]:
    relay.operate(host, "block", "add", *entries)
    try:
        yield
    finally:
        relay.operate(host, "block", "remove", *entries)


@contextmanager
def _suspended(host: LabHost, address: str) -> Iterator[None]:
    relay.operate(host, "account", "suspend", address)
    try:
        yield
    finally:
        relay.operate(host, "account", "resume", address)


@contextmanager
def _closed(host: LabHost, *but: str) -> Iterator[None]:
    relay.operate(host, "federation", "closed")
    try:
        relay.operate(host, "federation", "add", *but)
        yield
    finally:
        relay.operate(host, "federation", "remove", *but)
        relay.operate(host, "federation", "open")


@pytest.fixture
def newcomer(b: LabHost) -> Login:
    """An account on _b.lab that nobody else uses, and whose login has been seen to work."""
    login = fresh_address(b.domain), fresh_password()
    assert _gets_in(b, login)
    return login


def _gets_in(host: LabHost, login: Login) -> bool:
    try:
        with ImapMailbox(host.ip, *login):
            return True
    except imaplib.IMAP4.error:
        return False


def _submit(host: LabHost, login: Login, recipient: str) -> smtp.SmtpReply:
    return smtp.submit(host.ip, login, [recipient], pgp.encrypted(login[0], recipient, pgp.message_id()))


def _signed(lab: Lab, author: str, recipient: str, mid: str = "") -> bytes:
    message = pgp.encrypted(author, recipient, mid or pgp.message_id())
    return signature.sign(message, author.partition("@")[2], lab.paths)


def _bounce(host: LabHost, login: Login, recipient: str) -> str:
    """The text of the bounce for a message, which is also for its sender; white space made single blanks."""
    message = pgp.encrypted(login[0], recipient, pgp.message_id())
    assert smtp.submit(host.ip, login, [recipient, login[0]], message).code == 250

    def told() -> str:
        with ImapMailbox(host.ip, *login) as mailbox:
            texts = [" ".join(raw.decode().split()) for raw in mailbox.messages()]
        return next((text for text in texts if f"<{recipient}>: " in text), "")

    return until("the bounce arrives", told, SECONDS)


@pytest.mark.parametrize("network", ["", str(NETWORK)], ids=["address", "network"])
def test_blocked_user_neither_logs_in_nor_sends(b: LabHost, newcomer: Login, network: str) -> None:
    with smtp.logged_in(b.ip, newcomer) as session:
        with _blocked(b, network or newcomer[0]):
            assert smtp.begin(session, newcomer[0], [CAROL, newcomer[0]]) == [BLOCKED_USER] * 2
            assert not _gets_in(b, newcomer)
            refused = _submit(b, newcomer, newcomer[0])
            assert (refused.stage, refused.code) == ("AUTH", 535)
        assert smtp.begin(session, newcomer[0], [newcomer[0]])[0].startswith("250 ")
    assert _gets_in(b, newcomer)
    assert _submit(b, newcomer, newcomer[0]).code == 250


@pytest.mark.parametrize(
    ("author", "entry"),
    [
        (AUTHOR, AUTHOR),
        (AUTHOR, PEER),
        (REPORTER, f".{PEER}"),
        (AUTHOR, CONTROL_ADDRESS),
        (AUTHOR, str(NETWORK)),
    ],
    ids=["address", "domain", "sub-domain", "IP address", "network"],
)
def test_blocked_peer_is_refused(
    door: Door, lab: Lab, b: LabHost, reader: Login, author: str, entry: str
) -> None:
    message = _signed(lab, author, reader[0])
    with _blocked(b, entry):
        assert door(b, author, [reader[0]], message) == BLOCKED_SENDER
    assert door(b, author, [reader[0]], message).startswith("250 ")


def test_domain_whose_sub_domains_are_blocked_is_not(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    with _blocked(b, f".{PEER}"):
        assert door(b, AUTHOR, [reader[0]], _signed(lab, AUTHOR, reader[0])).startswith("250 ")


def test_blocked_author_behind_another_envelope_sender(
    door: Door, lab: Lab, b: LabHost, reader: Login
) -> None:
    message = _signed(lab, AUTHOR, reader[0])
    with _blocked(b, AUTHOR):
        assert door(b, "other12345@other.lab", [reader[0]], message) == BLOCKED_SENDER
        assert door(b, "", [reader[0]], message) == BLOCKED_SENDER


def test_envelope_is_refused_before_the_message_is_sent(lab: Lab, b: LabHost, reader: Login) -> None:
    with _blocked(b, PEER):
        reply = smtp.deliver(b.ip, AUTHOR, [reader[0]], _signed(lab, AUTHOR, reader[0]))
    assert (reply.stage, reply.line) == ("RCPT", BLOCKED_SENDER)


def test_imported_entries_hold_together(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    listed = f"# people we met\n{AUTHOR}\n.{PEER}  # news\n"
    relay.operate(b, "block", "import", "-", input=listed)
    try:
        for author in (AUTHOR, REPORTER):
            assert door(b, author, [reader[0]], _signed(lab, author, reader[0])) == BLOCKED_SENDER
        assert {row["entry"] for row in relay.ctl(b, "block", "list")} == {AUTHOR, f".{PEER}"}
    finally:
        relay.operate(b, "block", "remove", AUTHOR, f".{PEER}")


def test_mail_to_a_blocked_domain_is_refused_or_if_for_others_too_bounced(
    b: LabHost, newcomer: Login
) -> None:
    with _blocked(b, "mta.lab"):
        assert "Recipient domain is blocked here" in _submit(b, newcomer, CAROL).text
        assert BLOCKED_RECIPIENT in _bounce(b, newcomer, CAROL)


def test_closed_federation_takes_mail_of_exceptions_only(
    door: Door, lab: Lab, a: LabHost, b: LabHost, reader: Login
) -> None:
    other = "someone12345@other.lab"
    message = _signed(lab, other, reader[0])
    with _closed(b, a.domain, PEER):
        assert door(b, AUTHOR, [reader[0]], _signed(lab, AUTHOR, reader[0])).startswith("250 ")
        assert door(b, other, [reader[0]], message) == NOT_FEDERATED
    assert door(b, other, [reader[0]], message).startswith("250 ")


def test_closed_federation_sends_mail_to_exceptions_only(
    a: LabHost, b: LabHost, newcomer: Login, writer: Login
) -> None:
    mid = pgp.message_id()
    with _closed(b, a.domain):
        assert NOT_FEDERATED in _bounce(b, newcomer, CAROL)
        message = pgp.encrypted(newcomer[0], writer[0], mid)
        assert smtp.submit(b.ip, newcomer, [writer[0]], message).code == 250
        with ImapMailbox(a.ip, *writer) as mailbox:
            until("the exception's mail arrives", lambda: mailbox.find(mid), SECONDS)
        # Among themselves users are not federation.
        assert _submit(b, newcomer, newcomer[0]).code == 250


def test_suspended_account_neither_logs_in_nor_sends_but_gets_its_mail(
    lab: Lab, b: LabHost, newcomer: Login
) -> None:
    mid = pgp.message_id()
    with smtp.logged_in(b.ip, newcomer) as session, _suspended(b, newcomer[0]):
        assert smtp.begin(session, newcomer[0], [CAROL]) == [SUSPENDED]
        assert not _gets_in(b, newcomer)
        refused = _submit(b, newcomer, CAROL)
        assert (refused.stage, refused.code) == ("AUTH", 535)
        message = _signed(lab, AUTHOR, newcomer[0], mid)
        assert port_25(b, AUTHOR, [newcomer[0]], message).startswith("250 ")
    with ImapMailbox(b.ip, *newcomer) as mailbox:
        until("what came meanwhile is there", lambda: mailbox.find(mid), SECONDS)
    assert _submit(b, newcomer, newcomer[0]).code == 250


def test_too_much_mail_of_one_user(b: LabHost, newcomer: Login, reader: Login) -> None:
    too_much = f"450 4.7.1: Too much mail from <{newcomer[0]}>"
    began = time.monotonic()
    with smtp.logged_in(b.ip, newcomer) as session:
        sent = 0
        while (answers := smtp.begin(session, newcomer[0], [CAROL, newcomer[0]]))[0].startswith("250 "):
            assert answers[1].startswith("250 ")
            sent += 1
        assert answers == [too_much] * 2
        # Ten at once, and one more for each second.
        took = time.monotonic() - began
        assert 10 <= sent <= 11 + took
        with smtp.logged_in(b.ip, reader) as another:
            assert smtp.begin(another, reader[0], [CAROL])[0].startswith("250 ")
        until(
            "a second is over", lambda: smtp.begin(session, newcomer[0], [CAROL]) != [too_much], 5, every=0.5
        )


def test_milters_journal_names_nobody(lab: Lab, b: LabHost, reader: Login) -> None:
    began = float(b.run("date +%s.%N").stdout)
    with _blocked(b, AUTHOR):
        assert port_25(b, AUTHOR, [reader[0]], _signed(lab, AUTHOR, reader[0])) == BLOCKED_SENDER

    def logged() -> list[str]:
        texts = [one.text for one in journal.read(b, began) if one.who == "chatmail-milter"]
        # Others' mail still comes in meanwhile.
        return [text for text in texts if "reason=blocked" in text]

    (line,) = until("the milter says what it did", logged, 10)
    assert AUTHOR.partition("@")[0] not in line
    assert CONTROL_ADDRESS not in line
