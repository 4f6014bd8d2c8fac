"""chatmail-webimap as a server on a Unix socket, with a Dovecot that gives the answers of the test."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, unix_connect

from chatmail_milter.config import Config, MailSettings
from chatmail_milter.config.values import MailDomain
from mxdeliv_app.webimap import sessions
from mxdeliv_app.webimap.app import create_app
from mxdeliv_app.webimap.daemon import BoundedProtocol
from mxdeliv_app.webimap.sessions import WebSessions
from mxdeliv_app.webimap.wire import WireError

LARGE = 20_000_000
# Threads of each kind; FairShare gives four of six to who comes alone.
THREADS = 6
Reply = tuple[int, Any]


class OpenDovecot:
    """Sessions with a Dovecot that takes any password but `wrong`, and answers some commands when told to."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.occupied = threading.Semaphore(0)
        self.closed = threading.Semaphore(0)
        self.octets = 0

    def log_in(self, _server: Any, _client: str, login: tuple[str, str]) -> OpenMailbox:
        if login[1] == "wrong":
            self.wait()
            raise WireError(401, "authentication failed")
        return OpenMailbox(self)

    def wait(self) -> None:
        self.occupied.release()
        self.goes_on.wait()


class OpenMailbox:
    """One of its sessions, like `WebMailbox`."""

    def __init__(self, dovecot: OpenDovecot) -> None:
        self._dovecot = dovecot
        self._far, self._near = socket.socketpair()

    def close(self) -> None:
        self._far.close()
        self._near.close()
        self._dovecot.closed.release()

    def watch(self, _mailbox: str, _since: int) -> None:
        """Nothing to do."""

    def news(self) -> list[Any]:
        return []

    def idle(self) -> bool:
        return False

    def socket(self) -> socket.socket:
        return self._near

    def do(self, action: str, _data: Mapping[str, Any]) -> Any:
        if action == "list_mailboxes":
            self._dovecot.wait()
        return action

    def summary(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"uid": data["uid"]}

    def piece(self, _data: Mapping[str, Any], start: int, octets: int) -> bytes:
        self._dovecot.octets += (found := min(octets, LARGE - start))
        return b"x" * found


class Site:
    """The server, for clients of any address."""

    def __init__(self, path: str, dovecot: OpenDovecot) -> None:
        self._path, self.dovecot = path, dovecot

    async def ask(
        self, path: str, client: str, account: str, word: str = "right"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which a request was made."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        fields = f"Host: a.test\r\nX-Real-IP: {client}\r\nX-Email: {account}\r\nX-Password: {word}\r\n"
        writer.write(f"GET /webimap/{path} HTTP/1.0\r\n{fields}\r\n".encode())
        return reader, writer

    async def get(self, path: str, client: str, account: str, word: str = "right") -> Reply:
        """Status and JSON."""
        reader, writer = await self.ask(path, client, account, word)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), json.loads(body)

    @asynccontextmanager
    async def open(self, client: str, account: str = "") -> AsyncIterator[ClientConnection]:
        """A WebSocket, which has logged in if an account is named."""
        login = {"X-Email": account, "X-Password": "right"} if account else {}
        fields = {"X-Real-IP": client, **login}
        async with unix_connect(
            self._path, "ws://a.test/webimap/ws", additional_headers=fields, max_size=None, max_queue=1,
            compression=None,
        ) as found:  # fmt: skip
            yield found


@asynccontextmanager
async def site(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    dovecot, listening = OpenDovecot(), socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    monkeypatch.setattr(sessions, "WebMailbox", dovecot.log_in)
    monkeypatch.setattr(sessions, "_LOGINS", THREADS)
    monkeypatch.setattr(sessions, "_COMMANDS", THREADS)
    app = create_app(WebSessions(Config(mail=MailSettings(domain=MailDomain("a.test")))))
    server = uvicorn.Server(
        uvicorn.Config(app, http="h11", ws=BoundedProtocol, lifespan="off", log_config=None)
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield Site(str(path), dovecot)
    finally:
        dovecot.goes_on.set()
        server.should_exit = True
        await serving


async def occupied(dovecot: OpenDovecot, number: int) -> None:
    for _ in range(number):
        await asyncio.to_thread(dovecot.occupied.acquire)
