"""The admin pages in Debian's Chromium, under gunicorn, with `chatmail-orders`, and without a Postfix.

Pictures of all pages are kept in dist/admin, for a person to look at, and those that the README has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.blackbox.admin import sample
from tests.blackbox.admin.chromium import Browser, log_in
from tests.blackbox.admin.served import served
from tests.chat.deadline import until
from tests.unit.admin.site import ACT, HASHES, READ, fill

TOP = Path(__file__).resolve().parents[3]
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


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the pages are served, of a relay that has something of everything."""
    place = tmp_path_factory.mktemp("admin")
    fill(place / "store.sqlite").dispose()
    with served(place, HASHES) as port:
        yield f"https://localhost:{port}/admin"
    assert "Traceback" not in (place / "log").read_text()


@pytest.fixture
def opened(origin: str, tmp_path: Path) -> Iterator[Callable[[str], Browser]]:
    """Log in at a browser, by the keyboard alone."""
    browsers = []

    def opened(password: str) -> Browser:
        browser = Browser(tmp_path / "profile")
        browsers.append(browser)
        log_in(browser, origin, password)
        assert browser.evaluate("document.querySelector('h1').textContent") == "a.test"
        return browser

    yield opened
    for one in browsers:
        one.close()


def test_the_pictures_of_the_readme(tmp_path: Path) -> None:
    """A day of a relay, as a newcomer sees it first."""
    sample.fill(tmp_path / "store.sqlite")
    with served(tmp_path, HASHES, execute=sample.answered, domain=sample.DOMAIN, mail="/") as port:
        browser = Browser(tmp_path / "profile")
        try:
            home = f"https://localhost:{port}/admin"
            log_in(browser, home, READ)
            for name, path, size, words in (
                ("overview", "", (1100, 1300), ("58 checks", "_dmarc", "312", "out-https")),
                (
                    "peers",
                    "/peers",
                    (1360, 880),
                    ("nine.example", "gone.example", "failing (1)", "queued (1)"),
                ),
            ):

                def is_complete(path: str = path) -> bool:
                    browser.open(home + path)
                    return not browser.evaluate("document.querySelectorAll('.away').length")

                browser.look(dark=False, width=size[0], height=size[1])
                until("all was looked at", is_complete, 60, every=1)
                assert [one for one in words if one not in browser.text()] == []
                browser.picture(PICTURES / f"readme-{name}.png", all_of_it=False)
            assert browser.complaints == []
        finally:
            browser.close()


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


def test_the_way_of_a_message_on_a_phone(tmp_path: Path) -> None:
    sample.fill(tmp_path / "store.sqlite")
    with served(tmp_path, HASHES, execute=sample.answered, domain=sample.DOMAIN) as port:
        browser = Browser(tmp_path / "profile")
        try:
            home = f"https://localhost:{port}/admin"
            log_in(browser, home, ACT)
            browser.look(dark=True, width=390)

            def is_complete() -> bool:
                browser.open(f"{home}/queue/{sample.QUEUE_IDS[0]}")
                return "Its path" in browser.text()

            until("the queue was listed", is_complete, 60, every=1)
            for words in ("came by submission", "passed: encrypted", "Ask the operator", "Try it now"):
                assert words in browser.text()
            browser.picture(PICTURES / "phone-dark-message.png")
            assert browser.evaluate("document.documentElement.scrollWidth") <= 390
            assert browser.evaluate(UNNAMED) == []
            assert browser.complaints == []
        finally:
            browser.close()


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

    def said() -> str:
        browser.open(f"{origin}/queue")
        return str(browser.evaluate("document.querySelector('.away').textContent"))

    # On a busy machine the first look is still under way.
    until("it says so", lambda: "there is no postqueue here" in said(), 60, every=1)
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
