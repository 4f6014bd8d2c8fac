"""The admin pages in Debian's Chromium, under gunicorn, with `chatmail-orders`, and without a Postfix.

Pictures of all pages are kept in dist/admin, for a person to look at.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.blackbox.admin.chromium import Browser
from tests.blackbox.certificate import make_certificate
from tests.chat.deadline import until
from tests.unit.admin.site import ACT, HASHES, READ, fill

TOP = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
PICTURES = TOP / "dist/admin"
PAGES = (
    "", "/peers", "/peers/b.test", "/queue", "/accounts", "/blocklist", "/federation", "/routes",
    "/endpoints", "/tokens", "/settings",
)  # fmt: skip
SCREENS = (("light", False, 1280), ("dark", True, 1280), ("phone", False, 390), ("phone-dark", True, 390))
# Controls without a name, and pictures without a title.
UNNAMED = """
[...document.querySelectorAll(
  'button, input:not([type=hidden]), select, svg, nav, [role=region], a'
)].filter(one =>
  !(one.textContent.trim() || one.getAttribute('aria-label') || (one.labels && one.labels[0]))
).map(one => one.outerHTML.slice(0, 100))
"""


class Orders(threading.Thread):
    """What systemd does for `chatmail-orders`: a process for each connection, its input and output."""

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._environment = environment
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()

    def run(self) -> None:
        """Until the server is shut down."""
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                program = str(BIN / "chatmail-orders")
                subprocess.Popen(
                    [program], stdin=connection.fileno(), stdout=connection.fileno(), env=self._environment
                )

    def end(self) -> None:
        """Stop."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the pages are served, of a relay that has something of everything."""
    place = tmp_path_factory.mktemp("admin")
    fill(place / "store.sqlite").dispose()
    config, passwords = place / "chatmail.toml", place / "passwords"
    config.write_text(f'[mail]\ndomain = "a.test"\n[store]\nurl = "sqlite:///{place}/store.sqlite"\n')
    passwords.write_text("".join(f"{role} {hashed}\n" for role, hashed in HASHES.items()))
    make_certificate(place / "pem", ("localhost",))
    environment = os.environ | {
        "CHATMAIL_CONFIG": str(config),
        "CHATMAIL_ADMIN_PASSWORDS": str(passwords),
        "CHATMAIL_ORDERS": str(place / "orders"),
        "LISTEN_FDS": "1",
    }
    orders = Orders(place / "orders", environment)
    orders.start()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    # As systemd passes a socket; see sd_listen_fds(3).
    start = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])"
    gunicorn = [str(BIN / "gunicorn"), "--config", "python:mxdeliv_app.admin.gunicorn_conf"]

    def third() -> None:
        os.dup2(listening.fileno(), 3)

    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", start, *gunicorn, f"--certfile={place}/pem", f"--keyfile={place}/pem"],
            env=environment, preexec_fn=third, close_fds=False, stderr=log, cwd=place,
        )  # fmt: skip
    try:
        yield f"https://localhost:{port}/admin"
    finally:
        process.terminate()
        process.wait(60)
        orders.end()
        listening.close()
    assert "Traceback" not in (place / "log").read_text()


@pytest.fixture
def opened(origin: str, tmp_path: Path) -> Iterator[Callable[[str], Browser]]:
    """Log in at a browser, by the keyboard alone."""
    browsers = []

    def opened(password: str) -> Browser:
        browser = Browser(tmp_path / "profile")
        browsers.append(browser)
        browser.open(origin)
        there = browser.evaluate("document.activeElement.name")
        assert there == "password", browser.text()
        browser.type(password)
        browser.leave(lambda: browser.press("Enter", 13, "\r"))
        assert browser.evaluate("document.querySelector('h1').textContent") == "a.test"
        browser.complaints.clear()  # of the 401 with the form
        return browser

    yield opened
    for one in browsers:
        one.close()


def test_light_and_dark_wide_and_on_a_phone(origin: str, opened: Callable[[str], Browser]) -> None:
    browser = opened(ACT)
    for name, dark, width in SCREENS:
        browser.look(dark=dark, width=width)
        for path in PAGES:
            browser.open(origin + path)
            browser.picture(PICTURES / f"{name}{path.replace('/', '-') or '-overview'}.png")
            # Nothing sticks out to the right.
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, path
            paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (paper == "rgb(255, 255, 255)") == (not dark)
            # For screen readers: one heading of the page, and a name for each control and picture.
            assert browser.evaluate("document.querySelectorAll('h1').length") == 1
            assert browser.evaluate(UNNAMED) == [], path
    assert browser.complaints == []


def test_an_order_by_keyboard(origin: str, opened: Callable[[str], Browser]) -> None:
    browser = opened(ACT)
    for entry, where, said in (
        ("<b>.test", "[role=alert]", "entry:"),
        ("new.test", "[role=status]", "Added 1 entry."),
    ):
        browser.open(f"{origin}/blocklist")
        browser.evaluate("document.querySelector('[name=entry]').focus()")
        browser.type(entry)
        browser.leave(lambda: browser.press("Enter", 13, "\r"))
        assert said in browser.evaluate(f"document.querySelector('{where}').textContent")
    rows = "[...document.querySelectorAll('tbody th')].map(one => one.textContent)"
    assert browser.evaluate(rows) == ["new.test", "spam.test"]
    browser.leave(lambda: browser.evaluate("document.querySelector('td button').click()"))
    assert browser.evaluate(rows) == ["spam.test"]


def test_of_postfix_that_is_away_the_page_says_so(origin: str, opened: Callable[[str], Browser]) -> None:
    browser = opened(READ)
    browser.open(f"{origin}/queue")
    assert "there is no postqueue here" in browser.evaluate("document.querySelector('.away').textContent")
    assert browser.evaluate("document.querySelectorAll('main form').length") == 0


def test_without_javascript_it_works(origin: str, opened: Callable[[str], Browser]) -> None:
    browser = opened(ACT)
    browser.scripts(allowed=False)
    browser.call("Page.navigate", url=f"{origin}/peers?filter=failing")
    until("the page is there", lambda: "bad.test" in browser.text(), 30, every=0.2)


def test_it_refreshes_itself(origin: str, opened: Callable[[str], Browser]) -> None:
    browser = opened(ACT)
    browser.open(f"{origin}/peers")
    shown = "document.querySelector('.at').textContent"
    before = browser.evaluate(shown)
    until("it shows a later look", lambda: browser.evaluate(shown) != before, 60, every=0.5)
    assert browser.complaints == []
