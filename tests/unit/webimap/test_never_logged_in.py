"""Sockets that never log in, and logins that hang: a client that logs in is served all the same."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from chatmail_milter.config import Config, MailSettings
from chatmail_milter.config.values import MailDomain
from mxdeliv_app.webimap import app, sessions
from tests.unit.loop import run
from tests.unit.webimap.server import Site, occupied, site

PLACES = 6
LOGIN = json.dumps({"action": "login", "data": {"email": "b@a.test", "password": "right"}})
OK = {"action": "result", "data": {"status": "ok"}}


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_BEFORE_LOGIN", PLACES)


async def end_of(one: ClientConnection) -> tuple[str, int | None]:
    """What it was told, and the code with which it was closed."""
    told = json.loads(await one.recv())
    assert told["action"] == "error"
    with pytest.raises(ConnectionClosed):
        await one.recv()
    return told["data"], one.close_code


async def is_served(web: Site, client: str) -> None:
    """By each way to log in."""
    async with web.open(client) as socket:
        await socket.send(LOGIN)
        assert json.loads(await socket.recv()) == OK
    async with web.open(client, "c@a.test") as socket:
        await socket.send('{"type": "ping"}')
        assert await socket.recv() == '{"action":"pong"}'
    assert await web.get("messages", client, "d@a.test") == (200, [])


@pytest.mark.parametrize("client", ["198.51.100.1", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"])
def test_however_many_never_log_in_a_client_that_does_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    async def fill() -> None:
        async with site(tmp_path / "socket", monkeypatch) as web, AsyncExitStack() as stack:
            # It opens its socket before they come, and logs in when they are there.
            early = await stack.enter_async_context(web.open("203.0.113.1"))
            silent = [
                await stack.enter_async_context(web.open(f"192.0.2.{number % 9 + 1}")) for number in range(30)
            ]
            # The others ended, the oldest first.
            for one in silent[:20]:
                assert await end_of(one) == ("too many connections before login, try again later", 4503)
            await early.send(LOGIN)
            assert json.loads(await early.recv()) == OK
            await is_served(web, client)
            # What has logged in is none of those that make room.
            for number in range(9):
                await stack.enter_async_context(web.open(f"192.0.2.{number}"))
            await early.send('{"type": "ping"}')
            assert await early.recv() == '{"action":"pong"}'

    run(fill)


def test_logins_that_hang_or_wait_for_a_turn_give_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        async with site(tmp_path / "socket", monkeypatch) as web:
            guesses = [
                asyncio.create_task(web.get("mailboxes", f"192.0.2.{number}", "a@a.test", "wrong"))
                for number in range(3 * PLACES)
            ]
            # As many as their site may have threads; as many as there are places wait for one.
            await occupied(web.dovecot, 4)
            for one in islice(asyncio.as_completed(guesses), 2 * PLACES - 4):
                assert (await one)[0] == 503
            await is_served(web, "198.51.100.1")
            web.dovecot.goes_on.set()
            statuses = [status for status, _ in await asyncio.gather(*guesses)]
            # One more made room for the client.
            assert Counter(statuses) == {503: 2 * PLACES - 3, 401: PLACES + 3}

    run(hang)


def test_a_first_frame_that_comes_octet_by_octet_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_LOGIN_WITHIN", 0.2)

    async def slow() -> None:
        async with site(tmp_path / "socket", monkeypatch) as web, web.open("192.0.2.1") as one:
            told = asyncio.create_task(end_of(one))
            # RFC 6455, 5.2: a masked text frame of 100 octets.
            one.transport.write(b"\x81\xe4\0\0\0\0")
            while not told.done():
                one.transport.write(b"x")
                await asyncio.wait({told}, timeout=0.01)
            assert await told == ("missing credentials", 4401)

    run(slow)


def test_a_client_that_does_not_wait_for_its_refusal_is_no_fault() -> None:
    scope = {
        "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "path": "/webimap/ws", "query_string": b"", "headers": [(b"x-real-ip", b"192.0.2.1")], "state": {},
        "subprotocols": [],
    }  # fmt: skip
    config = Config(mail=MailSettings(domain=MailDomain("a.test")))
    frames = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "{"}]
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        if not frames:
            await asyncio.Event().wait()
        return frames.pop(0)

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])
        if sent[-1] == "websocket.close":
            raise OSError

    run(lambda: app.create_app(sessions.WebSessions(config))(scope, receive, send))
    # Ours, and Falcon's.
    assert sent == ["websocket.accept", "websocket.send", "websocket.close", "websocket.close"]
