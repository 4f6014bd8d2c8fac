"""Reads and writes the octets of an SMTP session: command lines, messages, replies (RFC 5321).

Does not interpret commands. Only CRLF.CRLF ends a message; octets pipelined behind it are kept (RFC 2920).
"""

from __future__ import annotations

import asyncio

from mxdeliv_app.https.spooled import Octets, SpooledOctets

IDLE_TIMEOUT = 300.0  # seconds of silence, RFC 5321, 4.5.3.2.7
MAX_LINE = 4096  # RFC 5321, 4.5.3.1.4 wants 512, and each extension adds to it
_CHUNK = 1 << 18
# A larger message is in a file. Reading it takes about twice this in memory.
IN_MEMORY = 1 << 20
_END = b"\r\n.\r\n"


class SmtpStream:
    """One connection, with buffers: replies to pipelined commands are sent together.

    Reading raises `asyncio.IncompleteReadError` if the client disconnected, and `TimeoutError` if it was
    silent for `IDLE_TIMEOUT`.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        self._replies = bytearray()

    async def line(self) -> bytes | None:
        """The next command line without its end, or None if it is longer than `MAX_LINE`."""
        too_long = False
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                self._buffer.clear()
                too_long = True
            await self._fill()
        found = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        return None if too_long or len(found) > MAX_LINE else found

    async def message(self, limit: int) -> Octets | None:
        """The message up to the lone dot, without dot-stuffing; None if it has more than `limit` octets.

        Raises `OSError` if a large one can't be written to a file.
        """
        spooled: SpooledOctets | None = None
        size, last = 0, False
        while not last:
            octets, last = await self._lines(limit)
            size += limit + 1 if octets is None else len(octets)
            if octets is None or size > limit:
                spooled = None
            elif not last and spooled is None:
                spooled = SpooledOctets()
            if octets and spooled is not None:
                # A disk may be slow, and other sessions must not wait for it.
                await asyncio.to_thread(spooled.append, octets)
        if size > limit:
            return None
        return octets if spooled is None else spooled

    async def _lines(self, limit: int) -> tuple[bytes | None, bool]:
        """The next lines of a message, without dot-stuffing, and whether they are the last ones.

        At least `IN_MEMORY` octets if they are not the last; None if a line is too long for a message.
        """
        while len(self._buffer) < 3:
            await self._fill()
        if self._buffer.startswith(b".\r\n"):
            del self._buffer[:3]
            return b"", True
        too_large, start = False, 0
        while (end := self._buffer.find(_END, start)) < 0:
            if len(self._buffer) > IN_MEMORY and not too_large:
                cut = self._buffer.rfind(b"\r\n", start)
                if cut >= 0:
                    return self._taken(cut + 2, cut + 2), False
            if len(self._buffer) > 2 * limit + _CHUNK:  # all dots, each stuffed, would still fit
                too_large = True
                del self._buffer[: -len(_END)]
            start = max(0, len(self._buffer) - len(_END) + 1)
            await self._fill()
        found = self._taken(end + 2, end + len(_END))
        return None if too_large else found, True

    def _taken(self, length: int, consumed: int) -> bytes:
        """So many octets of whole lines without dot-stuffing, after which more are `consumed`."""
        with memoryview(self._buffer) as whole, whole[:length] as part:
            found = bytes(part)
        del self._buffer[:consumed]
        return found.removeprefix(b".").replace(b"\r\n.", b"\r\n")

    def say(self, *lines: str) -> None:
        """Queues reply lines, truncated and without control characters: parts are written by strangers."""
        for line in lines:
            if not (line.isascii() and line.isprintable()):
                line = "".join(c if " " <= c <= "~" else "?" for c in line)
            self._replies += line[:510].encode("ascii") + b"\r\n"  # RFC 5321, 4.5.3.1.5

    async def flush(self) -> None:
        """Sends the queued replies."""
        if self._replies:
            self._writer.write(self._replies)
            self._replies = bytearray()
            await self._writer.drain()

    async def _fill(self) -> None:
        # Only where there is nothing left to go on with: a time limit costs as much as a command.
        async with asyncio.timeout(IDLE_TIMEOUT):
            await self.flush()
            chunk = await self._reader.read(_CHUNK)
        if not chunk:
            raise asyncio.IncompleteReadError(b"", None)
        self._buffer += chunk
