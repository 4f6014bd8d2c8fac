"""An account, or the addresses of one network, use all that they can get: others are served."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from chatmail_milter.config import Config, MailSettings
from chatmail_milter.config.values import MailDomain
from mxdeliv_app.webimap import sessions
from mxdeliv_app.webimap.app import create_app
from mxdeliv_app.webimap.daemon import BoundedProtocol
from mxdeliv_app.webimap.sessions import WebSessions
from mxdeliv_app.webimap.wire import WireError
from tests.unit.loop import run

LARGE = 20_000_000
# What a transport and the sockets of both ends may hold of an answer that nobody reads, and more.
UNREAD = 2_000_000
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
    async def open(self, client: str, account: str) -> AsyncIterator[ClientConnection]:
        """A WebSocket."""
        fields = {"X-Real-IP": client, "X-Email": account, "X-Password": "right"}
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


def test_wrong_passwords_of_one_network_leave_threads_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def guess() -> None:
        async with site(tmp_path / "socket", monkeypatch) as web:
            guesses = [
                asyncio.create_task(web.get("mailboxes", f"192.0.2.{number}", "a@a.test", "wrong"))
                for number in range(2 * THREADS)
            ]
            await occupied(web.dovecot, 4)
            assert await web.get("messages", "198.51.100.1", "b@a.test") == (200, [])
            web.dovecot.goes_on.set()
            assert {status for status, _ in await asyncio.gather(*guesses)} == {401}

    run(guess)


@pytest.mark.parametrize("accounts", [1, 9])
def test_commands_of_one_account_or_network_leave_threads_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accounts: int
) -> None:
    async def occupy() -> None:
        async with site(tmp_path / "socket", monkeypatch) as web:
            listings = [
                asyncio.create_task(web.get("mailboxes", f"192.0.2.{number}", f"a{number % accounts}@a.test"))
                for number in range(9)
            ]
            await occupied(web.dovecot, 4)
            assert await web.get("messages", "198.51.100.1", "b@a.test") == (200, [])
            web.dovecot.goes_on.set()
            assert {status for status, _ in await asyncio.gather(*listings)} == {200}

    run(occupy)


def test_who_does_not_read_large_messages_keeps_them_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = '{"action": "fetch", "data": {"uid": 1}}'

    async def read() -> None:
        async with site(tmp_path / "socket", monkeypatch) as web, AsyncExitStack() as stack:
            slow_requests = []
            for _ in range(5):
                slow = await stack.enter_async_context(web.open("192.0.2.1", "a@a.test"))
                await slow.send(fetch)
                slow.transport.pause_reading()
                stack.callback(slow.transport.abort)
                # With its reader: without one, what comes is dropped.
                slow_requests.append(await web.ask("message/1", "192.0.2.1", "a@a.test"))
                stack.callback(slow_requests[-1][1].transport.abort)
            status, whole = await web.get("message/1", "192.0.2.1", "b@a.test")
            assert (status, len(whole["body"])) == (200, LARGE)
            async with web.open("192.0.2.1", "b@a.test") as quick:
                await quick.send(fetch)
                said = json.loads(await quick.recv())
                assert (said["action"], len(said["data"]["body"])) == ("result", LARGE)
            # Of what nobody reads, little is in memory.
            assert web.dovecot.octets < 2 * LARGE + 10 * UNREAD

    run(read)


def test_for_who_has_left_no_message_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave() -> None:
        async with site(tmp_path / "socket", monkeypatch) as web:
            reader, writer = await web.ask("message/1", "192.0.2.1", "a@a.test")
            await reader.readexactly(1000)
            writer.transport.abort()
            await asyncio.to_thread(web.dovecot.closed.acquire)
            assert web.dovecot.octets < UNREAD

    run(leave)


def test_sockets_of_one_network_leave_connections_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CONNECTIONS", 6)

    async def connect_all() -> None:
        async with site(tmp_path / "socket", monkeypatch) as web, AsyncExitStack() as stack:
            for number in range(5):
                one = await stack.enter_async_context(web.open(f"192.0.2.{number}", f"a{number}@a.test"))
                await one.send('{"type": "ping"}')
                if number < 4:
                    assert await one.recv() == '{"action":"pong"}'
            assert "too many connections" in str(await one.recv())
            with pytest.raises(ConnectionClosed):
                await one.recv()
            assert one.close_code == 4503
            assert (await web.get("messages", "192.0.2.9", "c@a.test"))[0] == 503
            assert await web.get("messages", "198.51.100.1", "b@a.test") == (200, [])

    run(connect_all)
