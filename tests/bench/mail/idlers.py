"""Clients that idle (RFC 2177), a thousand in one thread: connected over TLS, in IDLE, and when one is told.

Certificates are not looked at. All times are of this machine's monotonic clock, in seconds.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tests.chat.smtp import any_certificate
from tests.lab.errors import LabError

# Logins at once at one server: it checks a password and forks for each.
_AT_ONCE = 8
_LATE = 30.0  # seconds for an answer
# Without inotify Dovecot looks every 30 s (mailbox_idle_check_interval).
_NEVER = 45.0  # seconds for a notice
# So many who can't connect are enough: each may have waited long.
_ENOUGH = 16


class HungUpError(Exception):
    """The server ended the connection, or said no: its last line."""


class Idler:
    """One client in its inbox. `since`: when the server said that it idles; `exists`: messages known."""

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.address = address
        self.since = 0.0
        self.exists = 0
        self._reader, self._writer = reader, writer

    @classmethod
    async def connected(
        cls, ip: str, login: tuple[str, str], context: ssl.SSLContext, port: int = 993
    ) -> Self:
        """Logged in and idle. Raises `HungUpError`, `OSError`, `TimeoutError`."""
        async with asyncio.timeout(_LATE):
            client = cls(login[0], *await asyncio.open_connection(ip, port, ssl=context))
            try:
                await client._until(b"* OK")
                await client._ask(f"LOGIN {login[0]} {login[1]}")
                await client._ask("SELECT INBOX")
                await client.idle()
            except BaseException:
                client.close()
                raise
            return client

    async def idle(self) -> None:
        """Go into IDLE."""
        self._writer.write(b"i IDLE\r\n")
        await self._until(b"+")
        self.since = time.monotonic()

    async def idle_anew(self) -> None:
        """Leave IDLE and go into it again."""
        async with asyncio.timeout(_LATE):
            self._writer.write(b"DONE\r\n")
            await self._until(b"i OK")
            await self.idle()

    async def told(self) -> float:
        """When it reads the next EXISTS. Raises `LabError`."""
        try:
            async with asyncio.timeout(_NEVER):
                while not (await self._line()).endswith(b" EXISTS\r\n"):
                    pass
                return time.monotonic()
        except TimeoutError:
            raise LabError(f"{self.address} was not told of a message in {_NEVER:g} s") from None

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _ask(self, command: str) -> None:
        self._writer.write(f"x {command}\r\n".encode())
        await self._until(b"x OK")

    async def _until(self, words: bytes) -> None:
        """Read lines until one begins so. A refusal is none that is waited for."""
        while not (line := await self._line()).startswith(words):
            if line.startswith((b"x ", b"i ", b"* BYE")):
                raise HungUpError(line.strip().decode(errors="replace"))

    async def _line(self) -> bytes:
        line = await self._reader.readline()
        if not line:
            raise HungUpError("the server hung up")
        if line.endswith(b" EXISTS\r\n"):
            self.exists = int(line.split()[1])
        return line


@dataclass(frozen=True)
class Crowd:
    """Clients of one server, and what those met who did not come so far."""

    clients: list[Idler]
    trouble: list[str]

    def keep(self, count: int) -> None:
        """All but the first ones hang up."""
        for client in self.clients[count:]:
            client.close()
        del self.clients[count:]


async def gather(ip: str, logins: Sequence[tuple[str, str]], port: int = 993) -> Crowd:
    """Connect a client for each login, in order, a few at a time."""
    context, room = any_certificate(), asyncio.Semaphore(_AT_ONCE)
    trouble: list[str] = []

    async def come(login: tuple[str, str]) -> Idler | None:
        async with room:
            try:
                if len(trouble) < _ENOUGH:
                    return await Idler.connected(ip, login, context, port)
                trouble.append("not tried any more")
            except (HungUpError, OSError) as error:
                trouble.append(f"{type(error).__name__}: {error}")
            return None

    found = await asyncio.gather(*(come(login) for login in logins))
    return Crowd([one for one in found if one], trouble)
