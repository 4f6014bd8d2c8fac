"""An account, or the addresses of one network, use all that they can get: others are served."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from mxdeliv_app.webimap import sessions
from tests.unit.loop import run
from tests.unit.webimap.server import LARGE, THREADS, occupied, site

# What a transport and the sockets of both ends may hold of an answer that nobody reads, and more.
UNREAD = 2_000_000


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
