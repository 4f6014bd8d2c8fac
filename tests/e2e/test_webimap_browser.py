"""A web client in a real browser, on another site: it logs in, sees a message arrive, and sends one.

The page is `tests/webclient/page.html`. It encrypts with OpenPGP.js.
"""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.blackbox.admin.chromium import Browser
from tests.blackbox.certificate import make_certificate
from tests.chat import pgp, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.lab.host import LabHost
from tests.lab.inventory import WEB_CLIENT
from tests.lab.plan import REPOSITORY

PAGE = REPOSITORY / "tests/webclient/page.html"
LIBRARY = PAGE.parent / "node_modules/openpgp/dist/openpgp.min.js"
HOST = urlsplit(WEB_CLIENT).hostname


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def site(place: Path) -> Iterator[int]:
    """The port of a web server, by HTTPS, that serves the client."""
    for file in (PAGE, LIBRARY):
        (place / file.name).write_bytes(file.read_bytes())
    make_certificate(place / "pem", (str(HOST),))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(place)))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def client(a: LabHost, tmp_path: Path) -> Iterator[Browser]:
    """A browser with the page open."""
    place = tmp_path / "site"
    place.mkdir()
    with site(place) as port:
        browser = Browser(tmp_path / "profile", f"--host-resolver-rules=MAP {HOST} 127.0.0.1:{port}")
        try:
            browser.open(f"{WEB_CLIENT}/{PAGE.name}?relay={a.ip}")
            yield browser
        finally:
            browser.close()


def log_in(browser: Browser, login: Login) -> str:
    """What the page says then."""
    for name, text in zip(("email", "password"), login, strict=True):
        browser.evaluate(f"document.querySelector('[name={name}]').focus()")
        browser.type(text)
    browser.press("Enter", 13, "\r")
    state = "document.querySelector('#state').textContent"
    return str(until("it answers", lambda: browser.evaluate(state), 30))


def test_a_page_logs_in_sees_a_message_arrive_and_sends_one(
    a: LabHost, writer: Login, client: Browser
) -> None:
    login = fresh_address(a.domain), fresh_password()
    assert log_in(client, login) == "logged in"

    sent = pgp.encrypted_to(client.evaluate("key()"), writer[0], login[0], "good morning")
    assert smtp.submit(a.ip, writer, [login[0]], sent).code == 250
    shown = "document.querySelector('#messages li')?.textContent"
    assert until("the page shows it", lambda: client.evaluate(shown), 30) == "good morning"

    key, mid = pgp.make_key(writer[0]), pgp.message_id()
    words = ", ".join(json.dumps(one) for one in (writer[0], str(key.pubkey), "good evening", mid))
    assert client.evaluate(f"write({words})") == "sent"
    with ImapMailbox(a.ip, *writer) as mailbox:
        found = until("the message arrives", lambda: mailbox.find(mid), 20)
    assert pgp.opened(found, key) == "good evening"
    assert client.complaints == []


def test_a_page_with_a_wrong_password_is_told(a: LabHost, writer: Login, client: Browser) -> None:
    assert log_in(client, (writer[0], "wrong password")) == "authentication failed"
