"""A server for Postfix's policy delegation protocol: `name=value` lines in, one `action=` line out.

The caller decides on the action, DUNNO or a reply (access(5)).
https://www.postfix.org/SMTPD_POLICY_README.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

# Seconds. Postfix closes idle connections after five minutes (smtpd_policy_service_max_idle).
IDLE_TIMEOUT = 600.0

NOTHING_TO_SAY = "DUNNO"
END = b"\n\n"


async def serve(
    decide: Callable[[Mapping[str, str]], Awaitable[str]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Serves one connection until Postfix closes it. `decide`: from a request's attributes to an action."""
    try:
        while True:
            asked = await asyncio.wait_for(reader.readuntil(END), IDLE_TIMEOUT)
            # Not `splitlines`, which would also split at a form feed in an address.
            lines = asked.decode(errors="replace").split("\n")
            action = await decide(dict(line.partition("=")[::2] for line in lines))
            writer.write(f"action={action}\n\n".encode())
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
        return
    finally:
        writer.close()
