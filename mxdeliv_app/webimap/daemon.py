"""`chatmail-webimap`: the application under uvicorn, behind nginx. One process: sockets are cheap in it."""

from __future__ import annotations

import asyncio
import logging

import click
import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatmail_milter.config import load_or_exit
from chatmail_milter.systemd import listening_or_exit
from mxdeliv_app.serving import faults
from mxdeliv_app.webimap.app import create_app
from mxdeliv_app.webimap.sessions import WebSessions

# Octets that a socket may receive, its request included, before its login.
_BEFORE_LOGIN = 32 << 10
# Seconds in which a client must read what a frame left in our buffer, or answer a ping.
_SLOW = 120.0
_PING = 30.0
# Connections beyond are refused (503).
_CONNECTIONS = 4000


class BoundedProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which ends with a client that does not read, or sends much before its login."""

    _received = 0

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._received += len(data)
        scope = getattr(self, "scope", None)
        if self._received > _BEFORE_LOGIN and not (scope and scope["state"].get("logged_in")):
            self.transport.abort()
        else:
            super().data_received(data)

    async def send(self, message: object) -> None:
        """As uvicorn's, and waits until the client has read most of it: so each has one frame in memory."""
        try:
            async with asyncio.timeout(_SLOW):
                await super().send(message)  # type: ignore[arg-type]
                await self.writable.wait()
        except TimeoutError:
            self.transport.abort()
            raise ClientDisconnected from None


@click.command()
@click.option(
    "--listen", metavar="unix:PATH", help="Listen there, if systemd passes no socket; also HOST:PORT."
)
def main(listen: str | None) -> None:
    """Serve mailboxes and submission to web clients, by REST and WebSocket.

    Each client's requests go to Dovecot and Postfix on this host, with the client's own password.
    """
    config = load_or_exit()
    faults.log_to_stderr()
    # These tell of passwords below WARNING.
    for name in ("imapclient", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    found = listening_or_exit("chatmail-webimap", [listen] if listen else [], ("webimap",))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(WebSessions(config)),
            http="h11",
            ws=BoundedProtocol,
            ws_max_size=config.webimap.frame,
            # Compressed frames could be of any size, and each socket's state takes memory.
            ws_per_message_deflate=False,
            ws_ping_interval=_PING,
            ws_ping_timeout=_SLOW,
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
    )
    server.run(sockets=[found["webimap"]])
