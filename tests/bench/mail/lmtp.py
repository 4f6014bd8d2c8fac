"""A message handed to a host's Dovecot over LMTP (RFC 2033), straight into its socket: no Postfix."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from tests.lab.errors import LabError
from tests.lab.host import LabHost

_SOCKET = "var/spool/postfix/private/dovecot-lmtp"
_LATE = 30.0  # seconds for an answer


async def hand_over(host: LabHost, recipients: Sequence[str], message: bytes) -> float:
    """Deliver to all in one transaction; the moment before MAIL FROM, in a session that is open (monotonic).

    Raises `LabError` when it is refused.
    """
    async with asyncio.timeout(_LATE):
        path = host.paths.root(host.host) / _SOCKET
        reader, writer = await asyncio.open_unix_connection(str(path))
        try:
            await _expect(reader, "220")
            writer.write(b"LHLO bench.lab\r\n")
            await _expect(reader, "250")
            began = time.monotonic()
            envelope = ["MAIL FROM:<>", *(f"RCPT TO:<{one}>" for one in recipients)]
            for line in envelope:
                writer.write(f"{line}\r\n".encode())
                await _expect(reader, "250")
            writer.write(b"DATA\r\n")
            await _expect(reader, "354")
            writer.write(message + b".\r\n")
            for _ in recipients:
                await _expect(reader, "250")
            writer.write(b"QUIT\r\n")
            return began
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _expect(reader: asyncio.StreamReader, code: str) -> None:
    """Read one reply, to its last line."""
    while True:
        line = (await reader.readline()).decode(errors="replace")
        if line[3:4] != "-":
            break
    if not line.startswith(code):
        raise LabError(f"read the journal of the relay: LMTP said {line.strip() or 'nothing'!r}")
