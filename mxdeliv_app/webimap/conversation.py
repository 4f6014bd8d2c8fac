"""A web client's WebSocket: frames with actions and their results, and new messages as they come.

One frame after the other: a client that sends more of them, or that does not read, waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from falcon.asgi import WebSocket
from falcon.errors import PayloadTypeError, WebSocketDisconnected

from mxdeliv_app.webimap import wire
from mxdeliv_app.webimap.mailbox import WebMailbox
from mxdeliv_app.webimap.sessions import WebSession
from mxdeliv_app.webimap.wire import WireError

Send = Callable[[dict[str, Any]], Awaitable[None]]

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
    await socket.send_text(_frame(action, data, req_id))


def _frame(action: str, data: Any, req_id: Any) -> str:
    named = {} if req_id is None else {"req_id": req_id}
    return wire.encoded({**named, "action": action, "data": data})


class Conversation:
    """The frames on a socket after the login."""

    def __init__(
        self, socket: WebSocket, session: WebSession, send: Send, answered: Callable[[], None]
    ) -> None:
        """`send`: ASGI's, for frames in pieces. `answered`: called after each answer."""
        self._socket, self._session = socket, session
        self._send, self._answered = send, answered

    async def run(self) -> None:
        """Ends by `WebSocketDisconnected`, or if the session is lost by `OSError` or `WireError`."""
        work, mailbox = self._session.work, self._session.mailbox
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
                    self._answered()
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
        if action == "fetch":
            await self._fetch(data, req_id)
        elif action == "send":
            await say(self._socket, "result", await self._session.send(data), req_id)
        else:
            result = await self._session.work(self._session.mailbox.do, action, data)
            await say(self._socket, "result", result, req_id)

    async def _fetch(self, data: dict[str, Any], req_id: Any) -> None:
        pieces = self._session.fetch(data)
        first = await anext(pieces)
        try:
            await self._piece(_frame("result", None, req_id).removesuffix("null}") + first)
            async for piece in pieces:
                await self._piece(piece)
            await self._piece("}", more=False)
        except (OSError, WireError):
            # Amid a frame nothing can be said but the end.
            raise WebSocketDisconnected from None

    async def _piece(self, text: str, more: bool = True) -> None:
        # `more` is known to our server alone (daemon.py).
        await self._send({"type": "websocket.send", "text": text, "more": more})
