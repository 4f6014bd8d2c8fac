"""A request that waits for new messages: it ends with its client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from types import SimpleNamespace
from typing import Any, cast

import uvicorn

from mxdeliv_app.webimap.app import create_app
from mxdeliv_app.webimap.sessions import WebSession, WebSessions
from tests.unit.loop import run

REQUEST = (
    b"GET /webimap/messages?wait=120 HTTP/1.1\r\nHost: a.test\r\nX-Real-IP: 192.0.2.1\r\n"
    b"X-Email: a@a.test\r\nX-Password: secret\r\n\r\n"
)


class NeverAnyNews:
    """A mailbox of which Dovecot tells nothing."""

    def __init__(self) -> None:
        self._dovecot, self._ours = socket.socketpair()
        self.idles = asyncio.Event()

    def watch(self, _mailbox: str, _since: int) -> None:
        """As `WebMailbox` has it, like the others."""

    def news(self) -> list[dict[str, Any]]:
        return []

    def idle(self) -> bool:
        self.idles.set()
        return False

    def socket(self) -> socket.socket:
        return self._ours

    def close(self) -> None:
        self._dovecot.close()
        self._ours.close()


class OneSession:
    """The sessions of a server that makes one."""

    settings = SimpleNamespace(origins=())

    def __init__(self) -> None:
        self.box = NeverAnyNews()
        self.ended = asyncio.Event()

    @asynccontextmanager
    async def session(self, _client: str, _login: Any) -> AsyncIterator[WebSession]:
        with closing(self.box):
            yield cast(WebSession, SimpleNamespace(mailbox=self.box, work=self.work))
        self.ended.set()

    async def work(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


def test_who_waits_no_longer_has_no_session() -> None:
    async def leave() -> None:
        sessions, listening = OneSession(), socket.create_server(("127.0.0.1", 0))
        app = create_app(cast(WebSessions, sessions))
        server = uvicorn.Server(uvicorn.Config(app, http="h11", lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            _, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(REQUEST)
            await sessions.box.idles.wait()
            assert not sessions.ended.is_set()
            writer.close()
            await sessions.ended.wait()
        finally:
            server.should_exit = True
            await serving

    run(leave)
