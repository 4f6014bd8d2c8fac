"""A web client's side of WebIMAP: requests, and a WebSocket that speaks in turn."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Coroutine, Mapping
from functools import cache
from types import TracebackType
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect

from tests.chat.smtp import any_certificate
from tests.lab.host import LabHost

_SECONDS = 150.0

Login = tuple[str, str]
_T = TypeVar("_T")


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


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """A loop that runs in a thread.

    The library's own client for threads reads in one and writes in another. OpenSSL can't do both at once for
    a connection: on a busy machine one request of a hundred never came to nginx.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="WebSockets", daemon=True).start()
    return loop


def _await(coroutine: Coroutine[Any, Any, _T], seconds: float = _SECONDS) -> _T:
    """What it returns. Raises `TimeoutError`."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result(seconds)
    finally:
        future.cancel()


class Socket:
    """An open WebSocket."""

    def __init__(self, host: LabHost, query: str = "", headers: Mapping[str, str] | None = None) -> None:
        self._number = 0
        # When the last frame came, in seconds since the epoch.
        self.received = 0.0
        # What came while an answer was awaited.
        self.pushed: list[dict[str, Any]] = []

        async def opened() -> ClientConnection:
            return await connect(
                f"wss://{host.domain}/webimap/ws{query}",
                sock=socket.create_connection((host.ip, 443), _SECONDS), ssl=any_certificate(),
                additional_headers=headers or {}, compression=None, max_size=None, max_queue=4,
                ping_interval=None, open_timeout=_SECONDS, proxy=None,
            )  # fmt: skip

        self._connection = _await(opened())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _await(self._connection.close())

    def log_in(self, login: Login, **data: Any) -> dict[str, Any]:
        """The answer to a first frame with the login."""
        return self.do("login", email=login[0], password=login[1], **data)

    def refused(self, login: Login) -> Any:
        """What it says to a login before it ends."""
        self.put({"action": "login", "data": {"email": login[0], "password": login[1]}})
        frame = self.get()
        assert frame["action"] == "error", frame
        return frame["data"]

    def put(self, frame: Any, seconds: float = _SECONDS) -> None:
        """Send a frame: text or octets as they are, anything else as JSON. Raises `TimeoutError`."""
        _await(self._connection.send(frame if isinstance(frame, str | bytes) else json.dumps(frame)), seconds)

    def cut(self, octets: bytes = b"") -> None:
        """Send octets as they are, and end the TCP connection."""

        async def end() -> None:
            self._connection.transport.write(octets)
            self._connection.transport.abort()

        _await(end())

    def get(self) -> dict[str, Any]:
        """The next frame."""
        text = _await(self._connection.recv())
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
