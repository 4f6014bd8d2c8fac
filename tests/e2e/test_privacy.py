"""What a relay stores of its users after all that they may do: no peer addresses, times by day only.

The visitors of this file come from an address that nobody else in the lab has.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
import warnings
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import requests

from tests.chat import pgp, relay, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.login import by_imap, by_submission
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.e2e.test_expiry import home, is_there, rows
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS
from tests.lab.visitor import seen_as

VISITOR = "10.77.0.99"
# All that outlives a restart.
DISK = "/etc /opt /var /root /home /srv"


@dataclass(frozen=True)
class Visit:
    """Who was there, from when until when, in POSIX time, and the journal's position before."""

    login: Login
    began: float
    ended: float
    cursor: str


@pytest.fixture(scope="module")
def visit(a: LabHost, b: LabHost, writer: Login, reader: Login) -> Visit:
    """Somebody does all that apps do with _b.lab, and much that they don't."""
    began, cursor = time.time(), b.cursor()
    login = fresh_address(b.domain), fresh_password()
    with seen_as(VISITOR, b.ip):
        _log_in_rightly_and_wrongly(b, login)
        _send_and_read(b, login, reader, writer)
        _talk_nonsense(b)
        _ask_the_web(b)
        with (
            relay.stopped(b, "chatmail-hooks.socket chatmail-hooks.service"),
            ThreadPoolExecutor(2) as pool,
        ):
            said = list(pool.map(lambda way: way(b.ip, *login), (by_imap, by_submission)))
        assert "UNAVAILABLE" in said[0]
        assert said[1].startswith("4")
    return Visit(login, began, time.time(), cursor)


def _log_in_rightly_and_wrongly(b: LabHost, login: Login) -> None:
    for way in (by_imap, by_submission):
        assert way(b.ip, *login) == "OK"
        assert way(b.ip, login[0], fresh_password()) != "OK"
        assert way(b.ip, "x@" + b.domain, fresh_password()) != "OK"
    relay.operate(b, "account", "suspend", login[0])
    for way in (by_imap, by_submission):
        assert way(b.ip, *login) != "OK"
    relay.operate(b, "account", "resume", login[0])


def _send_and_read(b: LabHost, login: Login, reader: Login, writer: Login) -> None:
    with ImapMailbox(b.ip, *login) as mailbox:
        mailbox.ask(b'SETMETADATA INBOX (/private/devicetoken "token-visitor")')
        mailbox.ask(b"SETMETADATA INBOX (/private/devicetoken {5000+}\r\n" + b"x" * 5000 + b")")
        mailbox.begin_idle()
        for to in (login[0], reader[0], writer[0]):
            message = pgp.encrypted(login[0], to, pgp.message_id())
            assert smtp.submit(b.ip, login, [to], message).code == 250
        mailbox.wait_exists()
        mailbox.end_idle()
        clear = pgp.plain(login[0], reader[0], login[0])
        assert smtp.submit(b.ip, login, [reader[0]], clear).code == 523
        with suppress(ConnectionError):
            mailbox.ask(b"X" * 100_000)
    for to in (login[0], reader[0], writer[0]):
        until("all of it has left", lambda to=to: not relay.queued(b, to), 30)  # type: ignore[misc]


def _talk_nonsense(b: LabHost) -> None:
    """No TLS where it should be, and commands where there are none."""
    for port in (143, 587, 993, 465, 443, 80):
        for nonsense in (
            b"GET / HTTP/1.0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01" + b"\xff" * 517,
            b"\r\n" * 50,
        ):
            with socket.create_connection((b.ip, port), timeout=10) as talking, suppress(OSError):
                talking.sendall(nonsense)
                talking.shutdown(socket.SHUT_WR)
                while talking.recv(4096):
                    pass
    for port in (993, 465, 443):
        with socket.create_connection((b.ip, port), timeout=10) as talking, suppress(OSError):
            talking.sendall(_hello_of_a_bad_key())
            talking.recv(4096)


def _hello_of_a_bad_key() -> bytes:
    """A ClientHello (RFC 8446, 4.1.2) whose key share, its last extension's last 32 octets, is no point."""
    context, sent = ssl.create_default_context(), ssl.MemoryBIO()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    hello = sent.read()
    share = hello.index(b"\x00\x1d\x00\x20") + 4  # x25519, 32 octets
    return hello[:share] + bytes(32) + hello[share + 32 :]


def _ask_the_web(b: LabHost) -> None:
    with warnings.catch_warnings(), requests.Session() as session:
        session.verify = session.trust_env = False
        warnings.simplefilter("ignore")
        for method, path in (
            ("GET", "/"),
            ("POST", "/new"),
            ("GET", "/mail/config-v1.1.xml"),
            ("GET", "/nothing"),
            ("POST", "/mxdeliv"),
            ("PUT", "/mxdeliv"),
            ("POST", "/new?token=" + "x" * 5000),
        ):
            session.request(method, f"https://{b.ip}{path}", headers={"Host": b.domain}, timeout=30)


def test_no_log_has_a_clients_address_but_of_submissions(b: LabHost, visit: Visit) -> None:
    entries = list(b.journal(since=visit.cursor))
    texts = [(str(one.get("SYSLOG_IDENTIFIER")), str(one.get("MESSAGE"))) for one in entries]
    assert {"dovecot", "gunicorn", "postfix/submission/smtpd"} <= {who for who, _ in texts}
    # Nor in another form: Dovecot's session IDs are made of the client's address and port.
    told = {(who, text) for who, text in texts if VISITOR in text or any(map(_is_of_visitor, _ids(text)))}
    # Postfix has no setting for these. It is why the journal is in memory.
    assert {one for one in told if not one[0].startswith("postfix/submission/")} == set()


def _ids(text: str) -> list[bytes]:
    found = re.findall(r"[A-Za-z0-9+/]{12,}={0,2}", text)
    return [b64decode(one + "=" * (-len(one) % 4), validate=False) for one in found if len(one) % 4 != 1]


def _is_of_visitor(octets: bytes) -> bool:
    return socket.inet_aton(VISITOR) in octets


def test_the_journal_is_in_memory_and_there_is_no_other_log(b: LabHost, visit: Visit) -> None:
    assert is_there(b, "/run/log/journal")
    assert not is_there(b, "/var/log/journal")
    assert b.run("stat -f -c %T /run/log/journal").stdout.strip() == "tmpfs"
    written = b.run("find /var/log -type f -newer /run/systemd/container -size +0 2>/dev/null || :").stdout
    logs = {
        path for path in written.split() if not re.search(r"/(apt|dpkg|alternatives|wtmp|btmp|last)", path)
    }
    assert logs == set()


def test_no_address_of_a_client_is_on_the_disk(b: LabHost, visit: Visit) -> None:
    found = b.run(f"grep -rlaIF -e {VISITOR} {DISK} 2>/dev/null || :").stdout
    assert found == ""


def test_of_a_login_the_day_is_kept(b: LabHost, visit: Visit) -> None:
    dumped = json.loads(b.run([PYTHON, "-c", DUMP, visit.login[0]]).stdout)
    # Of the visit, which may have lasted past midnight.
    days = {datetime.fromtimestamp(at, UTC).date().isoformat() for at in (visit.began, visit.ended)}
    [(address, _, created, last_login, quota)] = dumped.pop("accounts")
    assert (address, quota) == (visit.login[0], None)
    [(_, _, token, given)] = dumped.pop("device_tokens")
    assert token == "token-visitor"
    assert {created, last_login, given} <= days
    # What is still to be told to a phone, while it is.
    dumped.pop("push_notices", None)
    assert dumped == {}


PYTHON = f"{PROGRAMS}/python3"
# As SQLite has it: all rows of an address, by table.
DUMP = """
import json, sqlite3, sys
store = sqlite3.connect("file:/var/lib/chatmail/store.sqlite?mode=ro", uri=True, timeout=5)
names = [row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
rows = {name: [row for row in store.execute(f"SELECT * FROM {name}") if sys.argv[1] in row] for name in names}
print(json.dumps({name: found for name, found in rows.items() if found}))
"""


@pytest.fixture
def leaver(b: LabHost) -> Login:
    """Who has an account with all that may belong to one."""
    login = fresh_address(b.domain, "leaver"), fresh_password()
    with ImapMailbox(b.ip, *login) as mailbox:
        mailbox.ask(b'SETMETADATA INBOX (/private/devicetoken "token-leaver")')
        mailbox.make_folder("Other")
        mailbox.put(pgp.encrypted(login[0], login[0], pgp.message_id()), folder="Other")
    relay.operate(b, "account", "quota", login[0], "1GB")
    message = pgp.encrypted(login[0], login[0], pgp.message_id())
    assert smtp.submit(b.ip, login, [login[0]], message).code == 250
    until("it is delivered", lambda: not relay.queued(b, login[0]), 20)
    return login


def test_of_a_deleted_account_nothing_is_left_at_once(b: LabHost, leaver: Login) -> None:
    name = leaver[0].partition("@")[0]
    look = f"find /var -path '*{name}*'; grep -rlaF -e {name} {DISK} 2>/dev/null || :"
    before = b.run(look).stdout
    assert "store.sqlite" in before
    assert home(b, leaver[0]) in before
    relay.operate(b, "account", "delete", leaver[0])
    assert b.run(look).stdout == ""
    assert rows(b, leaver[0]) == []
