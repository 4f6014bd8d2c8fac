"""The design that a milter replaces: a proxy before the queue, which hands every message on by SMTP.

`python -m tests.bench.mail.proxy PORT NEXT_PORT`. aiosmtpd takes the message from Postfix's first smtpd
(`smtpd_proxy_filter`), the same gate looks at it, and smtplib gives it to a second smtpd, in a thread, so
that others are served meanwhile.
"""

from __future__ import annotations

import asyncio
import smtplib
import sys
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from chatmail_milter.gate import gate
from chatmail_milter.verdict import Action


class Handler:
    """Looks at a message and hands it on."""

    def __init__(self, next_port: int) -> None:
        self._next_port = next_port

    async def handle_DATA(self, _server: Any, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """aiosmtpd calls it so; the reply."""
        return await asyncio.to_thread(self._pass_on, envelope)

    def _pass_on(self, envelope: Envelope) -> str:
        content = envelope.original_content
        assert content is not None
        sender = envelope.mail_from or ""
        facts = gate.Envelope(sender, tuple(envelope.rcpt_tos))
        verdict = gate.check(gate.Direction.OUT, facts, content)
        if verdict.action is not Action.PASS:
            return verdict.reply
        with smtplib.SMTP("127.0.0.1", self._next_port, local_hostname="proxy.lab") as onward:
            onward.sendmail(sender, envelope.rcpt_tos, content)
        return "250 2.0.0 OK"


async def serve(port: int, next_port: int) -> None:
    loop = asyncio.get_running_loop()
    handler = Handler(next_port)
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="proxy.lab", enable_SMTPUTF8=False, data_size_limit=None),
        "127.0.0.1",
        port,
        backlog=1024,
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:])))
