"""The `smtp_dns_reply_filter` of smtp(8): removes the addresses that the relay may not connect to.

So HTTPS and SMTP both ignore private addresses among public ones, by one table with the same exceptions.
Patterns in Postfix's configuration can't express that table for IPv6, mapped and translated addresses.
Postfix asks by the socketmap protocol (socketmap_table(5)) about each record, as text: name, TTL, class,
type, value (postconf(5)). Without an answer Postfix treats the lookup as failed, and the mail waits.
"""

from __future__ import annotations

import asyncio
import logging
import re
from ipaddress import ip_address

from mxdeliv_app.https.allowed_addresses import AllowedAddresses

IDLE_TIMEOUT = 600.0  # seconds; smtp(8) ends long before (max_idle)
_LONGEST = 10_000  # octets of a request

_IGNORE = "OK IGNORE"
_KEEP = "NOTFOUND "
# Before the record is the name of the map, which is always ours.
_ADDRESS = re.compile(r"\S+ \S+ \d+ in a(?:aaa)? (\S+)", re.IGNORECASE)

log = logging.getLogger(__name__)


class DnsReplyFilter:
    """One object serves all connections."""

    def __init__(self, guard: AllowedAddresses) -> None:
        self._guard = guard

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of smtp(8) until it ends."""
        try:
            while True:
                async with asyncio.timeout(IDLE_TIMEOUT):
                    asked = await _netstring(reader)
                answer = self.answer(asked.decode("ascii", "replace")).encode("ascii")
                writer.write(b"%d:%s," % (len(answer), answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
            return
        except ValueError:
            log.warning("event=not-a-socketmap-request")
        finally:
            writer.close()

    def answer(self, request: str) -> str:
        """The reply to a request, `map record`: ignore the record, or not found."""
        found = _ADDRESS.fullmatch(request)
        if found is None:  # MX, CNAME and the like: their addresses are asked about in their turn
            return _KEEP
        try:
            address = ip_address(found[1])
        except ValueError:
            return _IGNORE
        return _KEEP if self._guard.permits(address) else _IGNORE


async def _netstring(reader: asyncio.StreamReader) -> bytes:
    """The next request. Raises `ValueError` if the octets are not a netstring, or a long one."""
    size = int((await reader.readuntil(b":"))[:-1])
    if not 0 <= size <= _LONGEST:
        raise ValueError(size)
    octets = await reader.readexactly(size + 1)
    if octets[-1:] != b",":
        raise ValueError("no comma")
    return octets[:-1]
