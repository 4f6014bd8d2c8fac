"""A web client's WebSocket: frames with actions and their results, and new messages as they come.

One frame after the other: a client that sends more of them, or that does not read, waits.
"""

from __future__ import annotations

import asyncio
from typing import Any

from falcon.asgi import WebSocket
from falcon.errors import PayloadTypeError

from mxdeliv_app.webimap import wire
from mxdeliv_app.webimap.mailbox import WebMailbox
from mxdeliv_app.webimap.sessions import WebSessions
from mxdeliv_app.webimap.wire import WireError

# Dovecot ends a session without a command for 30 minutes (RFC 3501, 5.4).
_REFRESH = 20 * 60.0


async def readable(mailbox: WebMailbox, *tasks: asyncio.Future[Any], seconds: float) -> None:
    """Waits until a mailbox in IDLE may have news, or one of `tasks` is done, or the time is over."""
    loop = asyncio.get_running_loop()
    news: asyncio.Future[None] = loop.create_future()
    descriptor = mailbox.socket().fileno()

    def tell() -> None:
        loop.remove_reader(descriptor)
        news.set_result(None)

    loop.add_reader(descriptor, tell)
    try:
        await asyncio.wait({news, *tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(descriptor)


async def frame_of(socket: WebSocket) -> dict[str, Any]:
    """The next frame."""
    try:
        return wire.decoded(await socket.receive_text())
    except PayloadTypeError:
        raise WireError(400, "wants a frame of text") from None


async def say(socket: WebSocket, action: str, data: Any, req_id: Any = None) -> None:
    """Sends a frame."""
    named = {} if req_id is None else {"req_id": req_id}
    await socket.send_text(wire.encoded({**named, "action": action, "data": data}))


class Conversation:
    """What is said on a socket after the login."""

    def __init__(
        self,
        socket: WebSocket,
        mailbox: WebMailbox,
        sessions: WebSessions,
        client: str,
        login: tuple[str, str],
    ) -> None:
        self._socket, self._mailbox, self._sessions = socket, mailbox, sessions
        self._client, self._login = client, login

    async def run(self) -> None:
        """Ends by `WebSocketDisconnected`, or if the session is lost by `OSError` or `WireError`."""
        work, mailbox = self._sessions.work, self._mailbox
        incoming = asyncio.create_task(frame_of(self._socket))
        try:
            while True:
                while found := await work(mailbox.news):
                    for one in found:
                        await say(self._socket, "new_message", one)
                if not incoming.done() and not await work(mailbox.idle):
                    await readable(mailbox, incoming, seconds=_REFRESH)
                if incoming.done():
                    await self._answer(incoming)
                    incoming = asyncio.create_task(frame_of(self._socket))
        finally:
            incoming.cancel()

    async def _answer(self, incoming: asyncio.Task[dict[str, Any]]) -> None:
        req_id = None
        try:
            frame = incoming.result()
            req_id = frame.get("req_id")
            if frame.get("type") == "ping":
                await self._socket.send_text('{"action":"pong"}')
            else:
                await self._do(frame.get("action"), frame.get("data") or {}, req_id)
        except WireError as error:
            await say(self._socket, "error", error.text, req_id)

    async def _do(self, action: Any, data: Any, req_id: Any) -> None:
        if not isinstance(data, dict):
            raise WireError(400, "data: wants an object")
        if action == "send":
            sent = await self._sessions.send(self._client, self._login, data)
            await say(self._socket, "result", sent, req_id)
            return
        async with self._sessions.result(self._mailbox, action, data) as result:
            await say(self._socket, "result", result, req_id)
