"""The pages for people: texts, links, and what a browser may load and run."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from chatmail_milter import config
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.tokens import Tokens
from mxdeliv_app.mxdeliv.inject import Injector, InjectPorts
from mxdeliv_app.mxdeliv.receive import MxdelivResource
from mxdeliv_app.web.app import create_app
from mxdeliv_app.web.lifetimes import duration, size
from mxdeliv_app.web.new import NewAccountResource
from mxdeliv_app.web.pages import autoconfig, contact_link
from tests import stores

# What Firefox and Chromium send for a page (https://developer.mozilla.org/docs/Web/HTTP/Content_negotiation).
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PAGES = ("/", "/new", "/privacy")
VOID = {"meta", "link", "img", "path", "br"}


def client(
    registration: str = "open", pages: str = "", more: str = "", tokens: Any = None
) -> testing.TestClient:
    settings = config.parse(
        f'[mail]\ndomain = "a.example"\n[accounts]\nregistration = "{registration}"\n[pages]\n{pages}\n{more}'
    )
    nowhere = ("127.0.0.1", 9)
    receive = MxdelivResource(Injector(InjectPorts(nowhere, nowhere)), 1000, 10)
    return testing.TestClient(
        create_app(settings, receive, NewAccountResource(settings, lambda: None, tokens))
    )


class Document(HTMLParser):
    """A page's elements with their attributes, in order; each end tag has to match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("path", [*PAGES, "/favicon.svg", "/favicon.ico", "/mail/config-v1.1.xml"])
def test_head_is_get_without_the_body(path: str) -> None:
    relay = client()
    get, head = relay.simulate_get(path), relay.simulate_head(path)
    assert (get.status_code, head.status_code, head.content) == (200, 200, b"")
    assert dict(head.headers) == dict(get.headers)
    assert int(get.headers["content-length"]) == len(get.content) > 0


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_a_page_runs_no_script_and_loads_nothing_but_the_icon(path: str) -> None:
    answer = client().simulate_get(path, headers=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert (answer.headers["x-content-type-options"], answer.headers["referrer-policy"]) == (
        "nosniff",
        "no-referrer",
    )
    [style] = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    # CSP3, 6.7.3.2: the digest is of what stands between the tags.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert answer.headers["content-security-policy"].split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
    page = Document(answer.text)
    assert page.named("script") == []
    assert [one for _, one in page.elements if any(name == "style" or name[:2] == "on" for name in one)] == []
    assert {one["src"] for one in page.named("img")} == {"/favicon.svg"}
    assert [one["href"] for one in page.named("link")] == ["/favicon.svg"]


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_a_page_can_be_used_without_seeing_it_and_in_the_dark(path: str) -> None:
    answer = client().simulate_get(path, headers=BROWSER)
    page = Document(answer.text)
    assert page.named("html") == [{"lang": "en"}]
    assert "a.example" in re.findall("<title>(.+?)</title>", answer.text)[0]
    assert len(page.named("h1")) == len(page.named("main")) == 1
    # Each code has a name, and is one image to a screen reader.
    codes = [one for one in page.named("div") if one.get("class") == "code"]
    assert all(one["role"] == "img" and "QR code" in (one["aria-label"] or "") for one in codes)
    assert len(codes) == len(page.named("svg"))
    assert "prefers-color-scheme: dark" in answer.text


def test_the_pages_have_titles_of_their_own() -> None:
    relay = client()
    assert len({re.findall("<title>(.+?)</title>", relay.simulate_get(one).text)[0] for one in PAGES}) == 3


def test_in_a_browser_new_shows_how_to_get_an_account_and_makes_none() -> None:
    answer = client().simulate_get("/new", headers=BROWSER)
    assert answer.headers["cache-control"] == "no-store"
    page = Document(answer.text)
    assert "dcaccount:https://a.example/new" in [one["href"] for one in page.named("a")]
    assert page.named("form") == [{"method": "post", "action": "/new"}]


def test_the_form_of_the_page_shows_credentials_and_a_link_that_logs_in() -> None:
    answer = client().simulate_post("/new", headers=BROWSER)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    address, password = re.findall("<code>(.+?)</code>", answer.text)
    assert re.fullmatch(r"[a-z0-9]{8,20}@a\.example", address)
    assert len(password) >= 9
    [link] = [one for one in re.findall('href="(.+?)"', answer.text) if one.startswith("dclogin:")]
    assert link.startswith(f"dclogin:{address}?p={password}&amp;")


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0, */*", False),
        ("nonsense", False),
        ("", False),
        ("text/html", True),
        ("TEXT/HTML;q=0.9", True),
        (BROWSER["Accept"], True),
    ],
)
@pytest.mark.parametrize(("registration", "status"), [("open", 200), ("closed", 403)])
def test_apps_are_answered_in_json_whatever_browsers_get(
    registration: str, status: int, accept: str | None, page: bool
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    answer = client(registration).simulate_post("/new", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html" if page else "application/json")
    assert answer.headers["vary"] == "Accept"


def test_an_invitation_is_shown_while_it_is_good_and_looking_uses_none_of_it(tmp_path: Path) -> None:
    tokens = Tokens(open_store(stores.made(tmp_path / "store.sqlite")))
    token, _ = tokens.create(1, None)
    relay = client("token", tokens=lambda: tokens)
    for _ in range(3):
        page = Document(relay.simulate_get(f"/new?token={token}", headers=BROWSER).text)
        assert page.named("form") == [{"method": "post", "action": f"/new?token={token}"}]
    assert tokens.list()[0].used == 0
    assert relay.simulate_post(f"/new?token={token}", headers=BROWSER).status_code == 200
    for query in (f"?token={token}", "?token=x", "?token=%22%3E%3Cscript%3E", ""):
        answer = relay.simulate_get(f"/new{query}", headers=BROWSER)
        assert Document(answer.text).named("form") == []
        assert ('role="alert"' in answer.text) == bool(query)


def test_the_privacy_page_has_what_the_operator_says_and_escapes_it() -> None:
    said = {
        "contact": "https://i.delta.chat/#AB&a=x",
        "privacy_operator": "Verein <script>alert(1)</script>\\nMusterstraße 1 \U0001f511",
        "privacy_officer": "dpo@verein.example",
        "privacy_authority": "Landesbeauftragte",
        "privacy_text": "Hosted in Freiburg & nowhere else.",
    }
    text = (
        client(pages="\n".join(f'{key} = "{value}"' for key, value in said.items()))
        .simulate_get("/privacy")
        .text
    )
    assert 'href="https://i.delta.chat/#AB&amp;a=x"' in text
    assert "Verein &lt;script&gt;alert(1)&lt;/script&gt;\nMusterstraße 1 \U0001f511" in text
    for words in ("dpo@verein.example", "Landesbeauftragte", "Hosted in Freiburg &amp; nowhere else."):
        assert words in text
    assert Document(text).named("script") == []


def test_without_an_operators_words_the_privacy_page_leaves_no_gaps() -> None:
    text = client().simulate_get("/privacy").text
    assert "has not published a contact here" in text
    for absent in ("Data protection officer", "complain to", "Further information"):
        assert absent not in text


def test_the_privacy_page_has_the_lifetimes_in_force() -> None:
    rows = re.compile(r"<th scope=\"row\">(.*?)</th><td>(.*?)</td>")
    said = dict(rows.findall(client().simulate_get("/privacy").text))
    assert said["Messages, encrypted"].endswith("at most until 20 days after they arrived")
    assert said["Messages of more than 200 kB that were read"] == "until 7 days after they arrived"
    assert [until for what, until in said.items() if "former account" in what] == [
        "90 days after the account"
    ]
    more = '[expiry]\nmail = "0s"\nlarge_mail = "0s"\naccounts = "36h"\n[push]\ngateway = ""\n'
    said = dict(rows.findall(client(pages="log_days = 1", more=more).simulate_get("/privacy").text))
    assert said["Messages, encrypted"] == "until your app deletes them"
    assert [what for what in said if "200 kB" in what or "token" in what] == []
    assert [until for what, until in said.items() if what.startswith("The account")] == [
        "until it is deleted, at most until 36 hours after the last login"
    ]
    assert [until for what, until in said.items() if what.startswith("The log")] == ["1 day"]


@pytest.mark.parametrize(
    ("when", "condition"), [("offline", " and no app of yours is connected"), ("always", "")]
)
def test_the_privacy_page_says_when_a_phone_is_notified(when: str, condition: str) -> None:
    text = client(more=f'[push]\nwhen = "{when}"\n').simulate_get("/privacy").text
    assert f"When a message arrives{condition}, the notification service\n(notifications.delta.chat)" in text


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("op@example.net", "mailto:op@example.net"),
        ("https://i.delta.chat/#AB&a=x", "https://i.delta.chat/#AB&a=x"),
        ("http://example.net/", None),
        ("javascript:alert(1)", None),
        ("javascript:alert(1)//@x", None),
        ("op@example.net?bcc=x@example.net", None),
        ("write to op@example.net", None),
        ("https://example.net/ or by post", None),
        ("", None),
    ],
)
def test_what_a_click_on_the_contact_does(contact: str, link: str | None) -> None:
    assert contact_link(contact) == link


def test_times_and_sizes_in_words() -> None:
    assert [duration(one) for one in (86400, 1728000, 5400, 90, 3600)] == [
        "1 day",
        "20 days",
        "90 minutes",
        "90 seconds",
        "1 hour",
    ]
    assert [size(one) for one in (200_000, 500_000_000, 1_500_000_000, 12)] == [
        "200 kB",
        "500 MB",
        "1.5 GB",
        "12 octets",
    ]


@pytest.mark.parametrize("path", ["/nowhere", "/new/", "/mxdeliv/x"])
def test_what_is_not_there_is_a_page_for_browsers_and_json_for_others(path: str) -> None:
    relay = client()
    page, other = relay.simulate_get(path, headers=BROWSER), relay.simulate_get(path)
    assert (page.status_code, other.status_code) == (404, 404)
    assert "<h1>" in page.text
    assert other.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", PAGES)
def test_other_methods_are_refused(path: str, method: str) -> None:
    answer = client().simulate_request(method, path)
    assert answer.status_code == 405
    assert {"GET", "HEAD"} <= set(answer.headers["allow"].replace(" ", "").split(","))


@pytest.mark.parametrize(
    ("served", "ports"),
    [("false", ["993", "143", "465", "587"]), ("true", ["993", "443", "143", "465", "443", "587"])],
)
def test_autoconfig_lists_port_443_where_it_serves_mail(served: str, ports: list[str]) -> None:
    page = autoconfig(config.parse(f'mail = {{ domain = "a.example", port_443 = {served} }}'))
    assert re.findall(r"<port>(\d+)</port>", page.body.decode()) == ports
