"""A web client's side of WebIMAP: requests, and a WebSocket that speaks in turn."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect

from tests.chat.smtp import any_certificate
from tests.lab.host import LabHost

_SECONDS = 150.0

Login = tuple[str, str]


def ask(
    host: LabHost, method: str, path: str, login: Login | None = None, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """Status and JSON of an answer. `body`: JSON, or octets as they are."""
    client = http.client.HTTPSConnection(host.ip, timeout=_SECONDS, context=any_certificate())
    named = {"X-Email": login[0], "X-Password": login[1]} if login else {}
    octets = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    client.request(method, path, octets, {"Host": host.domain, **named, **headers})
    answer = client.getresponse()
    text = answer.read()
    client.close()
    return answer.status, json.loads(text) if text else None


def _context() -> ssl.SSLContext:
    """TLS 1.2, without tickets after the handshake.

    The client reads in a second thread, which would take them while the first sends the request. OpenSSL
    can't do both at once: on a busy machine one request of a hundred never came to nginx.
    """
    context = any_certificate()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


class Socket:
    """An open WebSocket."""

    def __init__(self, host: LabHost, query: str = "", headers: Mapping[str, str] | None = None) -> None:
        self._number = 0
        # When the last frame came, in seconds since the epoch.
        self.received = 0.0
        # What came while an answer was awaited.
        self.pushed: list[dict[str, Any]] = []
        self.connection = connect(
            f"wss://{host.domain}/webimap/ws{query}",
            sock=socket.create_connection((host.ip, 443), _SECONDS), ssl=_context(),
            additional_headers=headers or {}, compression=None, max_size=None, max_queue=4,
            ping_interval=None, open_timeout=_SECONDS, proxy=None,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def log_in(self, login: Login, **data: Any) -> dict[str, Any]:
        """The answer to a first frame with the login."""
        return self.do("login", email=login[0], password=login[1], **data)

    def refused(self, login: Login) -> Any:
        """What it says to a login before it ends."""
        self.put({"action": "login", "data": {"email": login[0], "password": login[1]}})
        frame = self.get()
        assert frame["action"] == "error", frame
        return frame["data"]

    def put(self, frame: Any) -> None:
        """Send a frame: text or octets as they are, anything else as JSON."""
        self.connection.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    def get(self) -> dict[str, Any]:
        """The next frame."""
        text = self.connection.recv(_SECONDS)
        self.received = time.time()
        found: dict[str, Any] = json.loads(text)
        return found

    def do(self, action: str, **data: Any) -> dict[str, Any]:
        """The answer to an action; pushes that come before it are kept."""
        self._number += 1
        self.put({"req_id": f"r{self._number}", "action": action, "data": data})
        while "req_id" not in (frame := self.get()):
            self.pushed.append(frame)
        assert frame.pop("req_id") == f"r{self._number}"
        return frame

    def result(self, action: str, **data: Any) -> Any:
        """The data of its result."""
        frame = self.do(action, **data)
        assert frame["action"] == "result", frame
        return frame["data"]

    def new_message(self) -> dict[str, Any]:
        """The summary of the next new message."""
        frame = self.pushed.pop(0) if self.pushed else self.get()
        assert frame["action"] == "new_message", frame
        summary: dict[str, Any] = frame["data"]
        return summary


def logged_in(host: LabHost, login: Login, **data: Any) -> Socket:
    """A socket after its login."""
    found = Socket(host)
    assert found.log_in(login, **data) == {"action": "result", "data": {"status": "ok"}}
    return found
