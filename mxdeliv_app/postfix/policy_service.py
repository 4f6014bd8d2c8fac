"""Postfix's policy delegation protocol: requests of `name=value` lines, each answered by one `action=` line.

An action is DUNNO or a reply (access(5)). What is decided is the caller's.
https://www.postfix.org/SMTPD_POLICY_README.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

# Seconds. Postfix hangs up after five minutes (smtpd_policy_service_max_idle).
IDLE_TIMEOUT = 600.0

NOTHING_TO_SAY = "DUNNO"
END = b"\n\n"


async def serve(
    decide: Callable[[Mapping[str, str]], Awaitable[str]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """One connection of Postfix's, until it hangs up; `decide` makes a request's attributes an action."""
    try:
        while True:
            asked = await asyncio.wait_for(reader.readuntil(END), IDLE_TIMEOUT)
            # Not `splitlines`: at a form feed in a recipient the line goes on.
            lines = asked.decode(errors="replace").split("\n")
            action = await decide(dict(line.partition("=")[::2] for line in lines))
            writer.write(f"action={action}\n\n".encode())
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
        return
    finally:
        writer.close()
