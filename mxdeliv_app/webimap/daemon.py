"""`chatmail-webimap`: the application under uvicorn, behind nginx. One process serves all clients."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click
import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from chatmail_milter.config import load_or_exit
from chatmail_milter.fair_share import BusyError
from chatmail_milter.systemd import listening_or_exit, log_to_stderr
from mxdeliv_app.webimap.app import create_app
from mxdeliv_app.webimap.sessions import WebSessions

# Octets that a socket may receive, its request included, before its login.
_BEFORE_LOGIN = 32 << 10
# Octets that are read at once. Each frame in them is an object until its turn, and no more is read meanwhile.
_READ = memoryview(bytearray(1 << 10))
# Octets of a frame that counts as small, and fragments of one frame.
_SMALL = 32 << 10
_FRAGMENTS = 1000
# Seconds in which a client must read what a frame left in our buffer, or answer a ping.
_SLOW = 120.0
_PING = 30.0
# Until a client must have answered our end of its socket (RFC 6455, 5.5.1). No limit counts it meanwhile.
_CLOSING = 1.0


class BoundedProtocol(WebSocketsSansIOProtocol, asyncio.BufferedProtocol):
    """uvicorn's WebSocket, which ends with a client that does not read, or sends much before its login.

    Reads little at once, and sends a frame in pieces where the application has it in pieces.
    """

    _received = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.close_timeout = _CLOSING
        # Octets of the frame that is being received, and what it holds if it is large.
        self._frame = 0
        self._held: ExitStack | None = None
        # The same of those that are not answered yet.
        self._unanswered: deque[ExitStack | None] = deque()
        self._amid = False

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Called by the event loop: where to put what it reads. One serves all."""
        return _READ

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the event loop."""
        self.data_received(bytes(_READ[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Called by `buffer_updated`, and with what came beside the request."""
        self._received += len(data)
        self._frame += len(data)
        if self._may_receive():
            super().data_received(data)
        else:
            self.transport.abort()

    def _may_receive(self) -> bool:
        scope = getattr(self, "scope", None)
        take: Callable[[], ExitStack] | None = scope["state"].get("take_frame") if scope else None
        if take is None:
            return self._received <= _BEFORE_LOGIN
        if self._frame > _SMALL and self._held is None:
            try:
                self._held = take()
            except BusyError:
                return False
        return True

    def handle_connect(self, event: Request) -> None:
        """Called with the request."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["state"]["answered"] = self._answered

    def send_receive_event_to_app(self) -> None:
        """Called with the end of a frame."""
        super().send_receive_event_to_app()
        self._unanswered.append(self._held)
        self._frame, self._held = 0, None

    def _answered(self) -> None:
        """The application is done with the oldest of its frames."""
        if self._unanswered and (held := self._unanswered.popleft()):
            held.close()

    def handle_cont(self, event: Frame) -> None:
        """Called with a further fragment of a frame."""
        super().handle_cont(event)
        if len(self.frames) > _FRAGMENTS:
            self.transport.abort()

    def handle_ping(self) -> None:
        """Called with a ping, which is no part of a frame."""
        super().handle_ping()
        self._was_control()

    def handle_pong(self, event: Frame) -> None:
        """Called with a pong."""
        super().handle_pong(event)
        self._was_control()

    def _was_control(self) -> None:
        if not self.frames:
            self._frame = 0

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Called when the application has ended: it answers nothing more, and need receive nothing more."""
        super().on_task_complete(task)
        self.scope["state"].pop("take_frame", None)
        self._unanswered.append(self._held)
        while self._unanswered:
            self._answered()

    async def send(self, message: Any) -> None:
        """As uvicorn's, and waits until the client has read most of it: so each has one frame in memory."""
        try:
            async with asyncio.timeout(_SLOW):
                if self._amid or message.get("more"):
                    await self._send_piece(message["text"], message["more"])
                else:
                    await super().send(message)
                await self.writable.wait()
        except TimeoutError:
            self.transport.abort()
            raise ClientDisconnected from None

    async def _send_piece(self, text: str, more: bool) -> None:
        await self.writable.wait()
        if self.disconnected or self.close_sent:
            raise ClientDisconnected
        # RFC 6455, 5.4: fragments of one message.
        send = self.conn.send_continuation if self._amid else self.conn.send_text
        send(text.encode(), fin=not more)
        self._amid = more
        self.transport.write(b"".join(self.conn.data_to_send()))


@click.command()
@click.option(
    "--listen", metavar="unix:PATH", help="Listen there, if systemd passes no socket; also HOST:PORT."
)
def main(listen: str | None) -> None:
    """Serve mailboxes and submission to web clients, by REST and WebSocket.

    Each client's requests go to Dovecot and Postfix on this host, with the client's own password.
    """
    config = load_or_exit()
    log_to_stderr()
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
            timeout_graceful_shutdown=5,
        )
    )
    server.run(sockets=[found["webimap"]])
