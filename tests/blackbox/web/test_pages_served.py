"""Pages beside `/mxdeliv`: `/new`, autoconfig and the pages for people, under gunicorn."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.blackbox.web.receiver import Receiver


def test_new_hands_out_fresh_credentials(receiver: Receiver) -> None:
    made = [json.loads(receiver.app.request("POST", "/new").body) for _ in range(5)]
    assert {tuple(sorted(one)) for one in made} == {("email", "password")}
    assert all(one["email"].endswith("@a.example") and len(one["password"]) >= 9 for one in made)
    assert len({one["email"] for one in made}) == 5


def test_new_is_never_cached(receiver: Receiver) -> None:
    assert receiver.app.request("POST", "/new").headers["cache-control"] == "no-store"


def test_a_browser_that_looks_at_new_gets_a_page(receiver: Receiver) -> None:
    answer = receiver.app.request("GET", "/new")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert b'href="dcaccount:https://a.example/new"' in answer.body


@pytest.mark.parametrize("path", ["/", "/new", "/privacy", "/favicon.svg", "/mail/config-v1.1.xml"])
def test_head_has_the_length_and_no_body(receiver: Receiver, path: str) -> None:
    # Octet for octet: a client library would leave a body out by itself.
    said = receiver.say(f"HEAD {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n".encode())
    head, _, body = said.partition(b"\r\n\r\n")
    length = len(receiver.app.request("GET", path).body)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"\r\ncontent-length: {length}" in head.decode().lower()
    assert body == b""


def test_however_many_ask_for_accounts_the_app_grows_no_larger(receiver: Receiver) -> None:
    def ask(times: int) -> None:
        for _ in range(times):
            assert receiver.app.request("POST", "/new").status == 200

    # As many threads as will be, and what Python sets aside at first.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, [40] * 8))
        before = receiver.app.peak_memory
        list(pool.map(ask, [250] * 8))
    assert receiver.app.peak_memory - before < 2 << 20


@pytest.mark.parametrize(
    "path",
    ["/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml?emailaddress=x@a.example"],
)
def test_autoconfig(receiver: Receiver, path: str) -> None:
    from xml.etree import ElementTree

    answer = receiver.app.request("GET", path)
    assert answer.headers["content-type"].startswith("text/xml")
    root = ElementTree.fromstring(answer.body)  # noqa: S314  (our own words)
    servers = [
        (one.tag, one.findtext("hostname"), one.findtext("port"), one.findtext("socketType"))
        for one in root.iter()
        if one.tag.endswith("Server")
    ]
    assert servers == [
        ("incomingServer", "a.example", "993", "SSL"),
        ("incomingServer", "a.example", "443", "SSL"),
        ("incomingServer", "a.example", "143", "STARTTLS"),
        ("outgoingServer", "a.example", "465", "SSL"),
        ("outgoingServer", "a.example", "443", "SSL"),
        ("outgoingServer", "a.example", "587", "STARTTLS"),
    ]


def test_landing_page_has_a_link_and_a_code(receiver: Receiver) -> None:
    answer = receiver.app.request("GET", "/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert b'href="dcaccount:https://a.example/new"' in answer.body
    assert b"<svg" in answer.body
