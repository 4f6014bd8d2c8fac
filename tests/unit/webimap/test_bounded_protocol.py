"""A client that does not read, or that sends much before its login, loses its socket."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
import uvicorn

from chatmail_milter.fair_share import BusyError
from mxdeliv_app.webimap import daemon
from tests.unit.loop import run

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
BEFORE_LOGIN = 32 << 10


@asynccontextmanager
async def connected(
    app: Callable[..., Any],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A WebSocket with this application, accepted."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, ws=daemon.BoundedProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(UPGRADE)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        yield reader, writer
        writer.close()
    finally:
        server.should_exit = True
        await serving


def frame(size: int) -> bytes:
    """A text frame with a mask of zero (RFC 6455, 5.2)."""
    return b"\x81\xff" + struct.pack("!Q", size) + bytes(4) + b"x" * size


async def ends(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_SLOW", 0.1)
    ended = asyncio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "text": "x" * 1_000_000})
        except OSError:
            ended.set()

    async def idle() -> None:
        async with connected(app):
            await ended.wait()

    run(idle)


@pytest.mark.parametrize(("logged_in", "stays"), [(False, False), (True, True)])
def test_what_a_socket_may_send_depends_on_its_login(logged_in: bool, stays: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if logged_in:
            scope["state"]["take_frame"] = ExitStack
        await send({"type": "websocket.accept"})
        if (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": "taken"})
            await receive()

    async def much() -> None:
        async with connected(app) as (reader, writer):
            writer.write(frame(2 * BEFORE_LOGIN))
            assert await ends(reader) is not stays

    run(much)


def test_a_flood_of_small_frames_waits_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    queues: list[asyncio.Queue[Any]] = []

    class Seen(daemon.BoundedProtocol):
        def handle_connect(self, event: Any) -> None:
            super().handle_connect(event)
            queues.append(self.queue)

    monkeypatch.setattr(daemon, "BoundedProtocol", Seen)
    most = 0

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(4000):
            assert (await receive())["type"] == "websocket.receive"
            most = max(most, queues[0].qsize())
        await send({"type": "websocket.send", "text": "all"})
        await receive()

    async def flood() -> None:
        async with connected(app) as (reader, writer):
            writer.write(b"\x81\x80\0\0\0\0" * 4000)
            assert not await ends(reader)

    run(flood)
    # A frame has six octets at least, and a kibibyte is read at once.
    assert 0 < most <= 1024 // 6 + 1


def test_who_may_have_no_more_large_frames_in_memory_is_cut_off() -> None:
    held = ExitStack()
    given_back = asyncio.Event()
    held.callback(given_back.set)
    left = [held]

    def take() -> ExitStack:
        if not left:
            raise BusyError
        return left.pop()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        scope["state"]["take_frame"] = take
        await send({"type": "websocket.accept"})
        await receive()
        assert not given_back.is_set()
        scope["state"]["answered"]()
        assert given_back.is_set()
        assert (await receive())["type"] == "websocket.disconnect"

    async def two() -> None:
        async with connected(app) as (reader, writer):
            writer.write(frame(2 * BEFORE_LOGIN))
            await given_back.wait()
            writer.write(frame(2 * BEFORE_LOGIN))
            assert await ends(reader)

    run(two)


def test_a_frame_of_endless_fragments_ends_the_socket() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        scope["state"]["take_frame"] = ExitStack
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"

    async def endless() -> None:
        async with connected(app) as (reader, writer):
            writer.write(b"\x01\x80\0\0\0\0" + b"\0\x80\0\0\0\0" * 2000)
            assert await ends(reader)

    run(endless)


def test_who_does_not_answer_the_end_has_a_connection_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: list[float] = []

    class Seen(daemon.BoundedProtocol):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if self.close_timer:
                seconds.append(self.close_timer.when() - self.loop.time())

    monkeypatch.setattr(daemon, "BoundedProtocol", Seen)

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4401})

    async def end() -> None:
        async with connected(app) as (reader, _):
            assert await reader.read() == b"\x88\x02\x11\x31"

    run(end)
    assert 0 < seconds[0] <= 1


def test_a_frame_in_pieces_is_one_message() -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for text, more in (("a", True), ("b", True), ("c", False)):
            await send({"type": "websocket.send", "text": text, "more": more})
        await send({"type": "websocket.send", "text": "d"})

    async def pieces() -> None:
        async with connected(app) as (reader, _):
            assert await reader.readexactly(12) == b"\x01\x01a\x00\x01b\x80\x01c\x81\x01d"

    run(pieces)
