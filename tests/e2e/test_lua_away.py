"""Dovecot without our Lua script, or with a failing one, refuses temporarily, and mail waits."""

from __future__ import annotations

import imaplib
import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.chat import relay, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.login import Login as ByWhichWay
from tests.chat.login import by_imap, by_submission
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

LUA = "/etc/dovecot/auth.lua"
# What becomes of it.
ILL = {
    "away": f"rm {LUA}",
    "fails": f"sed -i 's/^function auth_.*/&\\n  error(\"no\")/' {LUA}",
}


@contextmanager
def _ill(host: LabHost, how: str) -> Iterator[None]:
    host.run(f"cp -p {LUA} /run/auth.lua && {ILL[how]}")
    try:
        # Dovecot 2.4 does not even start without it.
        host.run("systemctl restart dovecot", check=False)
        yield
    finally:
        host.run(f"cp -p /run/auth.lua {LUA} && systemctl restart dovecot")


@pytest.mark.parametrize("how", ILL)
def test_logins_fail_for_now_and_mail_waits(
    a: LabHost, b: LabHost, writer: Login, reader: Login, how: str
) -> None:
    stranger = fresh_address(b.domain), fresh_password()
    with _ill(b, how):
        tries = [(login, who) for login in (by_imap, by_submission) for who in (reader, stranger)]
        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda one: _said(b, *one), tries))
        # Or they get no answer at all: without its Lua, Dovecot's authentication doesn't start.
        assert not [one for one in said if one == "OK" or one.startswith("5")], said
        assert not [one for one in said if "AUTHENTICATIONFAILED" in one], said
        mid = smtp.send(a.ip, writer, reader[0])
        until("it waits", lambda: relay.is_deferred(a, reader[0]), 45, every=0.5)
        assert stranger[0] not in {row["address"] for row in relay.ctl(b, "account", "list")}

    def arrived() -> bool:
        a.run("postqueue -f")
        with ImapMailbox(b.ip, *reader) as mailbox:
            return mailbox.find(mid) is not None

    until("it arrives", arrived, 60, every=1)
    assert by_imap(b.ip, *stranger) == "OK"


def _said(host: LabHost, way: ByWhichWay, who: Login) -> str:
    try:
        return way(host.ip, *who)
    except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
        return type(error).__name__
