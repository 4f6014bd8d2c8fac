"""Open sessions end after a change of policy, or when their account or password is gone.

They are ended, and nobody else's with them.
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from tests.chat import pgp, relay, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox, new_account
from tests.chat.login import by_imap, by_submission
from tests.chat.person import fresh_address, fresh_password
from tests.chat.stage import Stage
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

SECONDS = 5.0
OVER = "421 4.7.0 Your account or its password has changed, log in again"

Door = Callable[[str, Login], AbstractContextManager[smtplib.SMTP]]
Order = Callable[[str], tuple[str, ...]]


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (lambda address: ("account", "suspend", address), lambda address: ("account", "resume", address)),
        (lambda address: ("block", "add", address), lambda address: ("block", "remove", address)),
    ],
    ids=["suspended", "blocked"],
)
def test_an_idling_client_is_cut_off_and_others_idle_on(b: LabHost, begin: Order, end: Order) -> None:
    address, password = fresh_address(b.domain), fresh_password()
    # Nobody's mail is on its way to them.
    bystander = fresh_address(b.domain), fresh_password()
    with ImapMailbox(b.ip, address, password) as hers, ImapMailbox(b.ip, *bystander) as other:
        hers.begin_idle()
        other.begin_idle()
        # By now both sleep in one and the same process of Dovecot's.
        assert hers.stays_quiet(1)
        relay.operate(b, *begin(address))
        try:
            until("her session ends", lambda: not hers.stays_quiet(1), SECONDS)
            assert other.stays_quiet(1)
            other.end_idle()
        finally:
            relay.operate(b, *end(address))
    with ImapMailbox(b.ip, address, password):
        pass


class Change:
    """What an operator does to an account, and the password that counts afterwards, None if there is none."""

    def __init__(self, host: LabHost, login: Login) -> None:
        self.host, self.address, self.password = host, login[0], login[1] or None

    def new_password(self) -> None:
        self.password = fresh_password()
        relay.operate(self.host, "account", "password", self.address, input=f"{self.password}\n")

    def deletion(self) -> None:
        relay.operate(self.host, "account", "delete", self.address)
        self.password = None

    def new_owner(self) -> None:
        self.deletion()
        self.password = fresh_password()
        words = ("account", "create", self.address, "--reuse-name", "--ask")
        relay.operate(self.host, *words, input=f"{self.password}\n")


CHANGES = [Change.new_password, Change.deletion, Change.new_owner]


@pytest.fixture
def login(b: LabHost) -> Login:
    """A new account on _b.lab."""
    return new_account(b)


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("door", [smtp.logged_in, smtp.logged_in_by_starttls])
def test_an_smtp_session_ends_with_what_let_it_begin(
    b: LabHost, login: Login, reader: Login, change: Callable[[Change], None], door: Door
) -> None:
    changed = Change(b, login)
    message = pgp.encrypted(login[0], reader[0], pgp.message_id())
    bystander = fresh_address(b.domain), fresh_password()
    with (
        door(b.ip, login) as used,
        door(b.ip, login) as fresh,
        door(b.ip, login) as slow,
        smtp.logged_in(b.ip, bystander) as other,
    ):
        assert smtp.transact(used, login[0], [reader[0]], message)[1].code == 250
        assert slow.mail(login[0])[0] == 250
        assert slow.rcpt(reader[0])[0] == 250
        assert slow.docmd("DATA")[0] == 354
        slow.send(message[: len(message) // 2])
        change(changed)
        # One that has sent, one that has only logged in, and one whose message is on its way.
        for session in (used, fresh):
            assert session.mail(login[0])[0] == 250
            code, text = session.rcpt(reader[0])
            assert f"{code} {text.decode()}" == OVER
        slow.send(message[len(message) // 2 :] + b"\r\n.\r\n")
        code, text = slow.getreply()
        assert f"{code} {text.decode()}".startswith(OVER)
        for session in (used, fresh, slow):
            with pytest.raises(smtplib.SMTPServerDisconnected):
                session.docmd("NOOP")
        theirs = pgp.encrypted(bystander[0], reader[0], pgp.message_id())
        assert smtp.transact(other, bystander[0], [reader[0]], theirs)[1].code == 250
    assert by_submission(b.ip, *login).startswith("535 5.7.8")
    if changed.password:
        assert smtp.submit(b.ip, (login[0], changed.password), [reader[0]], message).code == 250


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__)
def test_so_do_imap_sessions_idle_or_not(b: LabHost, login: Login, change: Callable[[Change], None]) -> None:
    changed = Change(b, login)
    with ImapMailbox(b.ip, *login) as idle, ImapMailbox(b.ip, *login) as busy:
        idle.begin_idle()
        assert idle.stays_quiet(1)
        change(changed)
        until("the session ends", lambda: not busy.is_open(), SECONDS)
        until("the idle one ends", lambda: not idle.stays_quiet(1), SECONDS)
    assert by_imap(b.ip, *login).startswith("[AUTHENTICATIONFAILED]")
    if changed.password:
        assert by_imap(b.ip, login[0], changed.password) == "OK"


def test_a_login_under_way_meanwhile_has_no_session_for_long(b: LabHost, login: Login) -> None:
    """Dovecot has let it in by the old password, and nobody can see its session yet."""
    changed = Change(b, login)
    with ThreadPoolExecutor(1) as others:
        try:
            # First the one that starts others. One of those may have ended meanwhile.
            for name in ("dovecot", "imap"):
                b.run(f"kill -STOP $(pgrep -x {name})", check=False)
            late = others.submit(ImapMailbox, b.ip, *login)
            # imap-login has handed it on, to a process that takes nothing just now.
            waiting = "ss -Hxl src /run/dovecot/login/imap | awk '{print $3}'"
            until("its login was answered", lambda: int(b.run(waiting).stdout or 0) > 0, SECONDS)
            changed.new_password()
        finally:
            b.run("kill -CONT $(pgrep -x 'dovecot|imap')", check=False)
        with late.result() as mailbox:
            until("its session ends", lambda: not mailbox.is_open(), 60)
    assert changed.password
    assert by_imap(b.ip, login[0], changed.password) == "OK"


def test_an_app_logs_in_anew_after_its_session_was_ended(stage: Stage, a: LabHost, b: LabHost) -> None:
    one, other = stage.newcomer(b.domain), stage.newcomer(a.domain)
    stage.acquaint(one, other)
    stage.text(one, other)
    # The app keeps its session for the next message. The password stays good, so that it can log in.
    cursor = b.cursor()
    relay.operate(b, "account", "password", one.address, input=f"{one.password}\n")
    stage.text(one, other)
    assert "reason=login-over" in "\n".join(str(entry["MESSAGE"]) for entry in b.journal(since=cursor))
