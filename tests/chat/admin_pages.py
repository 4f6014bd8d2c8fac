"""Clients of the admin page of a relay of the lab: a program that asks for JSON, and what a browser gets."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from typing import Any

from mxdeliv_app.admin.sessions import COOKIE
from tests.chat.smtp import any_certificate
from tests.lab.host import LabHost

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
SECONDS = 60.0


class AdminPages:
    """A program that asks for JSON, with the cookie that it was given."""

    def __init__(self, host: LabHost, **headers: str) -> None:
        self._host = host
        self._headers = headers
        self.cookie = ""

    def ask(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        client = http.client.HTTPSConnection(self._host.ip, timeout=SECONDS, context=any_certificate())
        headers = {"Host": self._host.domain, "Accept": JSON, "Cookie": f"{COOKIE}={self.cookie}"}
        if form is not None:
            headers["Content-Type"] = FORM
        body = urllib.parse.urlencode(form or {}) or None
        client.request(method, f"/admin{path}", body, headers | self._headers)
        answer = client.getresponse()
        text = answer.read()
        given = answer.getheader("Set-Cookie") or ""
        if given.startswith(f"{COOKIE}="):
            self.cookie = given.partition("=")[2].partition(";")[0]
        client.close()
        return answer.status, json.loads(text)

    def get(self, path: str = "") -> Any:
        """The JSON of a page that is there."""
        status, found = self.ask("GET", path)
        assert status == 200, found
        return found

    def order(self, name: str, **values: str) -> tuple[int, Any]:
        """Give an order, with the session's token."""
        token = self.get("/session")["csrf"]
        return self.ask("POST", f"/orders/{name}", {"csrf": token, **values})

    def log_in(self, password: str) -> int:
        """The status of the answer."""
        return self.ask("POST", "/login", {"password": password})[0]


def logged_in(host: LabHost, password: str) -> AdminPages:
    pages = AdminPages(host)
    assert pages.log_in(password) == 200
    return pages


def shown(host: LabHost, path: str) -> tuple[int, bytes]:
    """Status and body, as a browser gets them."""
    client = http.client.HTTPSConnection(host.ip, timeout=SECONDS, context=any_certificate())
    client.request("GET", path, headers={"Host": host.domain, "Accept": "text/html"})
    answer = client.getresponse()
    body = answer.read()
    client.close()
    return answer.status, body
