"""A permanent refusal of a recipient by its server is repeated to the next sender at submission."""

from __future__ import annotations

import pytest

from tests.chat import pgp, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox, new_account
from tests.chat.person import Person, fresh_address, fresh_password
from tests.chat.smtp import SmtpReply
from tests.chat.stage import Stage
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

SECONDS = 60.0


@pytest.fixture
def sender(a: LabHost) -> Login:
    """A new account on _a.lab: it may send a few messages at once."""
    return new_account(a)


def submit(a: LabHost, sender: Login, *recipients: str) -> SmtpReply:
    message = pgp.encrypted(sender[0], recipients[0], pgp.message_id())
    return smtp.submit(a.ip, sender, list(recipients), message)


def refused(a: LabHost, sender: Login, recipient: str) -> SmtpReply:
    """The refusal, once it comes: the first message is accepted, and the peer's answer is awaited."""

    def reply() -> SmtpReply | None:
        found = submit(a, sender, recipient)
        return found if found.code >= 500 else None

    return until("the next message is refused", reply, SECONDS, every=1.5)


def accepted(a: LabHost, sender: Login, recipient: str) -> None:
    def taken() -> bool:
        return submit(a, sender, recipient).code == 250

    until("messages are accepted again", taken, SECONDS, every=1.5)


def test_the_next_message_is_refused_in_the_peers_words(a: LabHost, b: LabHost, sender: Login) -> None:
    nobody = fresh_address(b.domain)
    assert submit(a, sender, nobody).code == 250
    reply = refused(a, sender, nobody)
    assert reply.line == f"550 5.1.1 <{nobody}>: Recipient address rejected: User unknown"
    # One of several is accepted, as the app would show the message as failed for all.
    assert submit(a, sender, nobody, sender[0]).code == 250


def test_a_session_that_outlives_the_relay_is_told_all_the_same(a: LabHost, sender: Login) -> None:
    nobody = fresh_address(a.domain)
    message = pgp.encrypted(sender[0], nobody, pgp.message_id())
    with smtp.logged_in(a.ip, sender) as session:
        for restart in ("true", "systemctl restart mxdeliv-relay"):
            a.run(restart)
            _, reply = smtp.transact(session, sender[0], [nobody], message)
            assert reply.line.startswith(f"550 5.1.1 <{nobody}>")


def test_so_it_is_by_smtp(a: LabHost, mta: LabHost, sender: Login) -> None:
    nobody = fresh_address(mta.domain)
    assert submit(a, sender, nobody).code == 250
    reply = refused(a, sender, nobody)
    words = "User unknown in local recipient table"
    assert reply.line == f"550 5.1.1 <{nobody}>: Recipient address rejected: {words}"


def test_mail_that_is_delivered_there_ends_it(a: LabHost, b: LabHost, sender: Login) -> None:
    newcomer = fresh_address(b.domain)
    refused(a, sender, newcomer)
    with ImapMailbox(b.ip, newcomer, fresh_password()):
        assert submit(a, sender, newcomer).code == 550
        # As one of a group.
        assert submit(a, sender, newcomer, sender[0]).code == 250
        accepted(a, sender, newcomer)


def test_mail_that_comes_from_there_ends_it(a: LabHost, b: LabHost, sender: Login) -> None:
    newcomer = fresh_address(b.domain), fresh_password()
    refused(a, sender, newcomer[0])
    with ImapMailbox(b.ip, *newcomer):
        assert submit(a, sender, newcomer[0]).code == 550
        assert submit(b, newcomer, sender[0]).code == 250
        accepted(a, sender, newcomer[0])


def test_a_new_profile_sees_it(stage: Stage, a: LabHost, b: LabHost) -> None:
    anna: Person = stage.newcomer(a.domain)
    nobody = fresh_address(b.domain)
    chat = anna.chat_with_stranger(nobody)
    anna.sent(anna.send(chat, "are you there?"), SECONDS)
    login = fresh_address(a.domain), fresh_password()
    with ImapMailbox(a.ip, *login):
        # Another user's, to learn when the peer's answer has come.
        refused(a, login, nobody)
    _, error = anna.failed(anna.send(chat, "hello?"), SECONDS)
    assert f"5.1.1 <{nobody}>: Recipient address rejected: User unknown" in error


def test_the_store_and_the_log_name_nobody(a: LabHost, b: LabHost, sender: Login) -> None:
    nobody = fresh_address(b.domain)
    refused(a, sender, nobody)
    name = nobody.partition("@")[0]
    files = "/var/lib/chatmail/store.sqlite*"
    assert a.run(f"grep -c 'User unknown' {files}", check=False).stdout != ""
    assert a.run(f"grep -l {name} {files}", check=False).stdout == ""
    a.sync_journal()
    said = a.run("journalctl -u mxdeliv-relay -u chatmail-milter --no-pager").stdout
    assert "event=delivery" in said
    assert name not in said
    assert "no-store-key" not in said
