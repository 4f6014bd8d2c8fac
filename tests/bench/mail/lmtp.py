"""A message handed to a host's Dovecot over LMTP (RFC 2033), straight into its socket: no Postfix."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

from tests.lab.errors import LabError
from tests.lab.host import LabHost

_SOCKET = "var/spool/postfix/private/dovecot-lmtp"
_LATE = 30.0  # seconds for an answer


async def hand_over(host: LabHost, recipient: str, message: bytes) -> float:
    """Deliver; the moment before MAIL FROM, in a session that is open (monotonic).

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
            dialogue: Mapping[bytes, str] = {
                b"MAIL FROM:<>\r\n": "250",
                f"RCPT TO:<{recipient}>\r\n".encode(): "250",
                b"DATA\r\n": "354",
                message + b".\r\n": "250",
            }
            for said, code in dialogue.items():
                writer.write(said)
                await _expect(reader, code)
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
