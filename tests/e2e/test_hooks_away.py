"""Dovecot without `chatmail-hooks` refuses temporarily only; the hooks answer no one but Dovecot."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial

import pytest

from tests.chat import pgp, relay, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox, new_account
from tests.chat.login import by_imap, by_submission
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

HOOKS = "chatmail-hooks.socket chatmail-hooks.service"


@pytest.mark.parametrize(
    "without",
    [partial(relay.stopped, units=HOOKS), partial(relay.without_store, service="chatmail-hooks.service")],
    ids=["hooks", "store"],
)
def test_logins_fail_for_now_and_mail_waits(
    a: LabHost,
    b: LabHost,
    mta: LabHost,
    writer: Login,
    without: Callable[[LabHost], AbstractContextManager[None]],
) -> None:
    stranger = fresh_address(b.domain), fresh_password()
    # For one who got mail a moment ago, Dovecot need not ask.
    reader = new_account(b)
    theirs = pgp.message_id(mta.domain)
    with without(b):
        tries = [(login, who) for login in (by_imap, by_submission) for who in (reader, stranger)]
        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda one: one[0](b.ip, *one[1]), tries))
        assert ["UNAVAILABLE" in one for one in said[:2]] == [True, True], said
        assert [one[:1] for one in said[2:]] == ["4", "4"], said
        ours = smtp.send(a.ip, writer, reader[0])
        assert smtp.deliver(mta.ip, CAROL, [reader[0]], pgp.encrypted(CAROL, reader[0], theirs)).code == 250
        until("it waits", lambda: relay.is_deferred(a, reader[0]), 45, every=0.5)
        assert stranger[0] not in {row["address"] for row in relay.ctl(b, "account", "list")}

    def arrived() -> bool:
        for host in (a, b, mta):
            host.run("postqueue -f")
        with ImapMailbox(b.ip, *reader) as mailbox:
            return all(mailbox.find(one) is not None for one in (ours, theirs))

    until("both messages arrive", arrived, 60, every=1)
    assert by_imap(b.ip, *stranger) == "OK"


def test_who_got_mail_a_moment_ago_gets_it_all_the_same(b: LabHost, reader: Login) -> None:
    """Within a minute: all is made before that begins."""
    first, second = pgp.message_id(), pgp.message_id()
    messages = [pgp.encrypted(reader[0], reader[0], one) for one in (first, second)]
    with ImapMailbox(b.ip, *reader) as mailbox, smtp.logged_in(b.ip, reader) as session:
        session.sendmail(reader[0], [reader[0]], messages[0])
        until("the first arrives", lambda: mailbox.find(first), 20)
        with relay.stopped(b, HOOKS):
            session.sendmail(reader[0], [reader[0]], messages[1])
            until("the second arrives", lambda: mailbox.find(second), 20)


def test_hooks_answer_only_with_the_secret(b: LabHost, reader: Login) -> None:
    port = b.run("sed -n 's/^hooks = .*:\\([0-9]*\\)\"/\\1/p' /etc/chatmail/chatmail.toml").stdout.strip()
    body = f'{{"user": "{reader[0]}", "password": "{fresh_password()}", "ip": ""}}'
    for question in ("lookup", "create", "login", "mailbox"):
        assert _asked_by_dovecot(b, f"http://127.0.0.1:{port}/dovecot/{question}", body) == "401"


@pytest.mark.parametrize("program", ["push", "wake"])
def test_deliveries_are_told_only_at_the_secret_path(b: LabHost, reader: Login, program: str) -> None:
    url = b.run(["cat", f"/etc/chatmail/{program}.url"]).stdout.strip()
    body = json.dumps({"event": "mail_delivery_finished", "fields": {"user": reader[0]}})
    assert _asked_by_dovecot(b, url, body) == "204", "whoever knows the path is listened to"
    for other in (url.rpartition("/")[0] + "/new-mail", url[:-1], f"{url}x"):
        assert _asked_by_dovecot(b, other, body) == "404"


def _asked_by_dovecot(host: LabHost, url: str, body: str) -> str:
    return host.run(["runuser", "-u", "dovecot", "--", "python3", "-c", ASK, url, body]).stdout.strip()


ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], sys.argv[2].encode(), timeout=120).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
