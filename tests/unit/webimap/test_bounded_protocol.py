"""A client that does not read, or that sends much before its login, loses its socket."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

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
        scope["state"]["logged_in"] = logged_in
        await send({"type": "websocket.accept"})
        if (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": "taken"})
            await receive()

    async def much() -> None:
        async with connected(app) as (reader, writer):
            writer.write(frame(2 * BEFORE_LOGIN))
            assert await ends(reader) is not stays

    run(much)
