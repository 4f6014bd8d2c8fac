"""What a hostile peer answers is text wherever an operator reads it: on the admin pages, in a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blackbox.admin.chromium import Browser, log_in
from tests.chat import capture, relay, smtp
from tests.chat.admin_pages import AdminPages, logged_in
from tests.chat.deadline import until
from tests.chat.person import fresh_address
from tests.e2e.conftest import Login
from tests.e2e.test_admin import ACT
from tests.lab import Lab, ca
from tests.lab.host import LabHost
from tests.unit.admin.site import HOSTILE

PEER = "peer.lab"
SECONDS = 60.0
# What would be there if the words were taken for HTML.
TAKEN = "document.querySelectorAll('img, main script').length"


@pytest.fixture
def pages(lab: Lab, a: LabHost, writer: Login) -> AdminPages:
    """Logged in, after the peer has refused a message in hostile words."""
    relay.forget_endpoints(a)
    pages = logged_in(a, ACT)
    certificate = ca.issue(lab.paths.ca, [PEER])
    refusal = f"554 5.7.1 {HOSTILE}\r\n".encode()
    with capture.https_peer(lab.host("client").host, *certificate, refusal=refusal) as peer:
        mid = smtp.send(a.ip, writer, fresh_address(PEER))
        peer.next(SECONDS, mid)
    return pages


def test_a_peer_s_words(lab: Lab, a: LabHost, pages: AdminPages, tmp_path: Path) -> None:
    path = f"/peers/{PEER}"
    until("its words are on its page", lambda: "alert(2)" in str(pages.ask("GET", path)), SECONDS)
    browser = Browser(tmp_path / "profile", namespace=lab.netns("client"))
    try:
        home = f"https://{a.ip}/admin"
        log_in(browser, home, ACT)
        for one in (path, "/peers", "", "/queue"):
            browser.open(home + one)
            assert browser.evaluate(TAKEN) == 0
        browser.open(home + path)
        words = browser.evaluate("document.body.textContent")
        assert "<script>alert(1)</script>" in words
        assert not {"\x1b", "\u202e"} & set(words)
        assert browser.complaints == []
    finally:
        browser.close()
    said = a.run(["chatmailctl", "peers", "show", PEER]).stdout
    assert "alert(1)" in said
    assert not {"\x1b", "\u202e"} & set(said)
