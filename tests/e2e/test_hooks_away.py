"""Dovecot without our answers, and whom we answer: nobody is turned away for good, nobody learns anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from time import monotonic

import pytest

from tests.chat import pgp, relay, smtp
from tests.chat.deadline import until
from tests.chat.imap import Mailbox
from tests.chat.login import by_imap, by_submission
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

HOOKS = "chatmail-hooks.socket chatmail-hooks.service"
CAROL = "carol@mta.lab"


@contextmanager
def _stopped(host: LabHost) -> Iterator[None]:
    host.run(f"systemctl stop {HOOKS}")
    try:
        yield
    finally:
        host.run(f"systemctl start {HOOKS}")


@contextmanager
def _without_store(host: LabHost) -> Iterator[None]:
    host.run("chmod 0 /var/lib/chatmail/store.sqlite* && systemctl restart chatmail-hooks.service")
    try:
        yield
    finally:
        # They are not told that it is back.
        host.run("chmod 660 /var/lib/chatmail/store.sqlite*")


@pytest.mark.parametrize("without", [_stopped, _without_store], ids=["hooks", "store"])
def test_logins_fail_for_now_and_mail_waits(
    a: LabHost,
    b: LabHost,
    mta: LabHost,
    writer: Login,
    reader: Login,
    without: Callable[[LabHost], AbstractContextManager[None]],
) -> None:
    stranger = fresh_address(b.domain), fresh_password()
    ours, theirs = pgp.message_id(), pgp.message_id(mta.domain)
    began = monotonic()
    with without(b):
        tries = [(login, who) for login in (by_imap, by_submission) for who in (reader, stranger)]
        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda one: one[0](b.ip, *one[1]), tries))
        assert ["UNAVAILABLE" in one for one in said[:2]] == [True, True], said
        assert [one[:1] for one in said[2:]] == ["4", "4"], said
        # Dovecot's own patience, a minute, is used up in none of the four.
        assert monotonic() - began < 60
        assert smtp.submit(a.ip, writer, [reader[0]], pgp.encrypted(writer[0], reader[0], ours)).code == 250
        assert smtp.deliver(mta.ip, CAROL, [reader[0]], pgp.encrypted(CAROL, reader[0], theirs)).code == 250
        until("it waits", lambda: _states(a, reader[0]) == {"deferred"}, 45, every=0.5)
        assert stranger[0] not in {row["address"] for row in relay.ctl(b, "account", "list")}

    def arrived() -> bool:
        for host in (a, b, mta):
            host.run("postqueue -f")
        with Mailbox(b.ip, *reader) as mailbox:
            return all(mailbox.find(one) is not None for one in (ours, theirs))

    until("both messages arrive", arrived, 60, every=1)
    assert by_imap(b.ip, *stranger) == "OK"


def _states(host: LabHost, recipient: str) -> set[str]:
    return {row["queue"] for row in relay.queued(host, recipient)}


AS_NOBODY = "runuser -u nobody -- "


@pytest.mark.parametrize(
    "path",
    [
        "/var/lib/chatmail/store.sqlite",
        "/etc/chatmail/hooks.secret",
        "/etc/chatmail/chatmail.toml",
        "/etc/chatmail/tls/privkey.pem",
        "/var/vmail",
        "/var/vmail/{domain}/{name}/Maildir",
    ],
)
def test_others_on_the_host_can_not_read(b: LabHost, reader: Login, path: str) -> None:
    name, _, domain = reader[0].partition("@")
    found = path.format(domain=domain, name=name)
    assert b.run(["test", "-e", found], check=False).returncode == 0
    # What there may be beside it, such as SQLite's log, too.
    for command in (f"ls {found}/", f"cat {found}", f"sh -c 'cat {found}*'"):
        assert b.run(f"{AS_NOBODY}{command}", check=False).returncode != 0


def test_hooks_answer_nobody_on_the_host_but_dovecot(b: LabHost, reader: Login) -> None:
    port = "sed -n 's/^hooks = .*:\\([0-9]*\\)\"/\\1/p' /etc/chatmail/chatmail.toml"
    url = f"http://127.0.0.1:{b.run(port).stdout.strip()}/dovecot"
    for question in ("lookup", "create", "login"):
        body = f'{{"user": "{reader[0]}", "password": "{fresh_password()}"}}'
        ask = ["python3", "-c", ASK, f"{url}/{question}", body]
        assert b.run(["runuser", "-u", "nobody", "--", *ask]).stdout.strip() == "401"


ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], sys.argv[2].encode(), timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_passwords_are_in_no_log_and_no_list_of_processes(b: LabHost) -> None:
    cursor = b.cursor()
    passwords = [f"{kind}-{fresh_password()}" for kind in ("first", "wrong", "short", "asked")]
    address = fresh_address(b.domain)
    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(lambda: b.run(WATCH, timeout=60).stdout)
        assert by_imap(b.ip, address, passwords[0]) == "OK"
        assert by_submission(b.ip, address, passwords[1]).startswith("535")
        assert by_imap(b.ip, "x@" + b.domain, passwords[2]) != "OK"
        relay.operate(b, "account", "password", address, input=f"{passwords[3]}\n")
        assert by_submission(b.ip, address, passwords[3]) == "OK"
        b.run("touch /run/watched-enough")
        lines = watched.result()
    journal = "\n".join(str(entry.get("MESSAGE")) for entry in b.journal(since=cursor))
    assert "dovecot" in lines
    assert "event=account-created" in journal
    for password in passwords:
        assert password not in lines
        assert password not in journal


# Every command line and environment there is, again and again.
WATCH = """
rm -f /run/watched-enough
until [ -e /run/watched-enough ]; do
    cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | sort -u
done
rm -f /run/watched-enough
"""
