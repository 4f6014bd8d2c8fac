"""The pages for people through nginx: on port 443, and the redirect from port 80."""

from __future__ import annotations

import contextlib
import html
import http.client
import socket

import pytest

from tests.chat.smtp import any_certificate
from tests.lab.host import LabHost
from tests.lab.inventory import shared_variables

SECONDS = 30.0
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def ask(host: LabHost, method: str, path: str) -> tuple[http.client.HTTPResponse, bytes]:
    client = http.client.HTTPSConnection(host.ip, timeout=SECONDS, context=any_certificate())
    with contextlib.closing(client):
        client.request(method, path, headers={"Host": host.domain, "Accept": BROWSER})
        answer = client.getresponse()
        return answer, answer.read()


def say_in_the_clear(host: LabHost, *lines: str) -> tuple[int, str | None, str]:
    """Status, Location and body of what port 80 answers to these lines, octet for octet."""
    with socket.create_connection((host.ip, 80), SECONDS) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        said = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = said.partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    locations = [field.partition(": ")[2] for field in fields if field.lower().startswith("location:")]
    return int(status.split()[1]), locations[0] if locations else None, body


@pytest.mark.parametrize("path", ["/", "/new?token=a%20b&c", "/mxdeliv", "//x/../y", "/.well-known/x"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_browser_on_port_80_is_sent_to_https(b: LabHost, method: str, path: str) -> None:
    for name in (b.domain, f"autoconfig.{b.domain}"):
        status, location, body = say_in_the_clear(b, f"{method} {path} HTTP/1.1", f"Host: {name}")
        assert (status, location) == (301, f"https://{name}{path}")
        assert (body == "") == (method == "HEAD")


@pytest.mark.parametrize("host", ["evil.example", "192.0.2.1", f"{'x' * 60}.example:80"])
def test_under_a_strange_name_port_80_leads_to_this_host(b: LabHost, host: str) -> None:
    assert say_in_the_clear(b, "GET /a HTTP/1.1", f"Host: {host}")[:2] == (301, f"https://{b.domain}/a")
    assert say_in_the_clear(b, "GET /a HTTP/1.0")[:2] == (301, f"https://{b.domain}/a")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "get", "GETS"])
def test_nothing_else_is_redirected(b: LabHost, method: str) -> None:
    status, location, _ = say_in_the_clear(
        b, f"{method} /new HTTP/1.1", f"Host: {b.domain}", "Content-Length: 0"
    )
    assert (400 <= status < 500, location) == (True, None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_acme_authority_is_not_redirected(b: LabHost, method: str) -> None:
    directory = "/.well-known/acme-challenge"
    b.run(f"mkdir -p /var/www/acme{directory}; echo here > /var/www/acme{directory}/pages-test")
    try:
        status, location, body = say_in_the_clear(
            b, f"{method} {directory}/pages-test HTTP/1.1", f"Host: {b.domain}", "Content-Length: 0"
        )
    finally:
        b.run(f"rm /var/www/acme{directory}/pages-test")
    assert (status, location) == (405 if method == "POST" else 200, None)
    assert method != "GET" or body == "here\n"


@pytest.mark.parametrize("path", ["/", "/new", "/privacy", "/favicon.svg", "/favicon.ico"])
def test_head_says_what_get_has(b: LabHost, path: str) -> None:
    get, body = ask(b, "GET", path)
    head, nothing = ask(b, "HEAD", path)
    assert (get.status, head.status, nothing) == (200, 200, b"")
    assert int(head.headers["Content-Length"]) == len(body)
    for name in ("Content-Type", "Content-Security-Policy", "Referrer-Policy"):
        assert get.headers[name] == head.headers[name]
    assert "script-src" not in get.headers["Content-Security-Policy"]
    assert get.headers["Content-Security-Policy"].startswith("default-src 'none'; ")


def test_the_privacy_page_has_the_operators_variables(b: LabHost) -> None:
    said = shared_variables(b.paths)
    page = ask(b, "GET", "/privacy")[1].decode()
    assert said["chatmail_privacy_operator"] in html.unescape(page)
    assert "<i>" not in page
    assert f'href="mailto:{said["chatmail_contact"]}"' in page
