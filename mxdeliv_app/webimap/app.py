"""The Falcon application behind `/webimap/` and `/websmtp/`: logins, REST, and the WebSocket.

docs/wire.md, section 5, specifies the protocol.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import falcon
import falcon.asgi
from falcon.asgi import Request, Response, WebSocket

from mxdeliv_app.serving import faults
from mxdeliv_app.webimap import wire
from mxdeliv_app.webimap.conversation import Conversation, frame_of, readable, say
from mxdeliv_app.webimap.mailbox import INBOX
from mxdeliv_app.webimap.sessions import Login, WebSession, WebSessions
from mxdeliv_app.webimap.wire import WireError

_LONGEST_WAIT = 120
# Seconds for a first frame with the login.
_LOGIN_WITHIN = 15.0
_AWAY = WireError(503, "the mail server is away, try again later")
# RFC 6455, 7.4.2: codes from 4000 are an application's. Ours are the HTTP status of the error and this.
_CLOSE = 4000


class Origins:
    """Middleware: refuses pages of other sites, unless they are listed. (Programs send no Origin.)"""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed

    async def process_request(self, request: Request, _response: Response) -> None:
        """Called before routing."""
        self._check(request)

    async def process_request_ws(self, request: Request, _socket: WebSocket) -> None:
        """The same for a WebSocket."""
        self._check(request)

    def _check(self, request: Request) -> None:
        origin = request.get_header("Origin")
        if origin is not None and origin not in (*self._allowed, f"https://{request.host}"):
            raise falcon.HTTPForbidden(title="this origin is not allowed")


@asynccontextmanager
async def gone(request: Request) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends when the client of a request without a body closes its connection."""

    async def wait() -> None:
        while (await request.scope["state"]["receive"]())["type"] != "http.disconnect":
            pass

    task = asyncio.create_task(wait())
    try:
        yield task
    finally:
        task.cancel()


class RestResource:
    """A path, with the action of each method that it has."""

    def __init__(self, sessions: WebSessions, **actions: str) -> None:
        self._sessions = sessions
        for method, action in actions.items():
            # Falcon refuses the other methods.
            setattr(self, f"on_{method}", partial(self._post if method == "post" else self._get, action))

    async def _post(self, action: str, request: Request, response: Response) -> None:
        """A JSON object has the rest."""
        # The JSON of a message is longer than the message: `\r\n` takes four octets for two.
        limit = 2 * self._sessions.largest
        length = limit if request.content_length is None else request.content_length
        if length > limit:
            raise WireError(413, "the request is too large")
        # The login comes first: a body takes memory and time.
        session = await self._session(request)
        async with session.hold(length):
            data = await session.work(wire.decoded, await request.bounded_stream.read(limit))
            if action == "send":
                _answer(response, await session.send(data))
            else:
                await self._act(session, action, request, response, data)

    async def _get(self, action: str, request: Request, response: Response, **path: Any) -> None:
        """The path and the query have the rest."""
        data, session = {**request.params, **path}, await self._session(request)
        if action == "list_messages":
            _answer(response, await self._messages(request, session, data))
        else:
            await self._act(session, action, request, response, data)

    async def _session(self, request: Request) -> WebSession:
        return await _logged_in(self._sessions, request, partial(_login_of, request))

    async def _act(
        self, session: WebSession, action: str, request: Request, response: Response, data: dict[str, Any]
    ) -> None:
        mailbox = session.mailbox
        await session.work(mailbox.watch, wire.text(data, "mailbox", INBOX), 0)
        if action == "fetch":
            await self._fetch(session, request, response, data)
        else:
            _answer(response, await session.work(mailbox.do, action, data))

    async def _fetch(
        self, session: WebSession, request: Request, response: Response, data: dict[str, Any]
    ) -> None:
        pieces = session.fetch(data)
        first = await anext(pieces)

        async def stream() -> AsyncIterator[bytes]:
            yield first.encode("ascii")
            async with gone(request) as ended:
                async for piece in pieces:
                    # uvicorn takes answers for who has left, and drops them.
                    if ended.done():
                        return
                    yield piece.encode("ascii")

        response.content_type, response.stream = falcon.MEDIA_JSON, stream()

    async def _messages(self, request: Request, session: WebSession, data: Mapping[str, Any]) -> Any:
        wait = wire.number(data, "wait", 0, _LONGEST_WAIT)
        since = wire.number(data, "since_uid", 0)
        work, mailbox, end = session.work, session.mailbox, time.monotonic() + wait
        async with gone(request) as ended:
            await work(mailbox.watch, wire.text(data, "mailbox", INBOX), since)
            while True:
                found = await work(mailbox.news)
                left = end - time.monotonic()
                # Whoever has left would keep the session, and a place of the account, until the end.
                if found or left <= 0 or ended.done():
                    return found
                if not await work(mailbox.idle):
                    await readable(mailbox, ended, seconds=left)


class SocketResource:
    """`/webimap/ws`."""

    def __init__(self, sessions: WebSessions) -> None:
        self._sessions = sessions

    async def on_websocket(self, request: Request, socket: WebSocket) -> None:
        """Accepts first; a login that fails gets an error and the end."""
        await socket.accept()
        try:
            await self._serve(request, socket)
        except falcon.WebSocketDisconnected:
            return
        except OSError:
            await _end(socket, _AWAY)
        except WireError as error:
            await _end(socket, error)

    async def _serve(self, request: Request, socket: WebSocket) -> None:
        data: dict[str, Any] = dict(request.params)
        first: dict[str, Any] = {}

        async def login() -> Login:
            if request.get_header("X-Email"):
                return await _login_of(request)
            if "password" not in data:
                first.update(await _first_frame(socket))
                data.update(first["data"])
            elif not self._sessions.settings.query_login:
                raise WireError(401, "credentials in the address are switched off")
            return wire.credentials(data)

        session = await _logged_in(self._sessions, request, login)
        watched, since = wire.text(data, "mailbox", INBOX), wire.number(data, "since_uid", 0)
        await session.work(session.mailbox.watch, watched, since)
        state = request.scope["state"]
        # The server's protocol takes larger frames from now on.
        state["take_frame"] = session.frame
        if first:
            await say(socket, "result", {"status": "ok"}, first.get("req_id"))
            state["answered"]()
        await Conversation(socket, session, state["send"], state["answered"]).run()


def create_app(sessions: WebSessions) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """The application, by ASGI."""
    origins = sessions.settings.origins
    middleware: list[Any] = [falcon.CORSMiddleware(allow_origins=origins), Origins(origins)]
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App(middleware=middleware)
    # Frames that wait for their turn: each may be large.
    app.ws_options.max_receive_queue = 1
    app.set_error_serializer(_serialize)
    app.add_error_handler(Exception, _bug)
    app.add_error_handler(OSError, _away)
    app.add_error_handler(WireError, _refuse)
    app.add_route("/webimap/mailboxes", RestResource(sessions, get="list_mailboxes"))
    app.add_route("/webimap/messages", RestResource(sessions, get="list_messages"))
    app.add_route("/webimap/messages/{mailbox}/{uid}", RestResource(sessions, delete="delete"))
    app.add_route("/webimap/message/{uid}", RestResource(sessions, get="fetch", delete="delete"))
    app.add_route("/webimap/message/flags", RestResource(sessions, post="flags"))
    app.add_route("/webimap/send", RestResource(sessions, post="send"))
    app.add_route("/websmtp/send", RestResource(sessions, post="send"))
    app.add_route("/webimap/ws", SocketResource(sessions))

    async def with_events(scope: Any, receive: Any, send: Any) -> None:
        async with AsyncExitStack() as until_sent:
            # What Falcon gives to no resource: that its client has gone (`gone`), frames in pieces, and what
            # to close when its answer has been sent.
            scope["state"] |= {"receive": receive, "send": send, "until_sent": until_sent}
            await app(scope, receive, send)

    return with_events


def _answer(response: Response, result: Any) -> None:
    response.content_type = falcon.MEDIA_JSON
    response.text = wire.encoded(result)


def _client(request: Request) -> str:
    """The client's address, from nginx: nobody else can connect to our socket."""
    return request.get_header("X-Real-IP", required=True)


async def _logged_in(
    sessions: WebSessions, request: Request, login: Callable[[], Awaitable[Login]]
) -> WebSession:
    until_sent: AsyncExitStack = request.scope["state"]["until_sent"]
    return await until_sent.enter_async_context(sessions.session(_client(request), login))


async def _login_of(request: Request) -> Login:
    # ASGI has the octets of a header field as Latin-1.
    return wire.credentials(
        {
            key: (request.get_header(name) or "").encode("latin-1").decode("utf-8", "replace")
            for key, name in (("email", "X-Email"), ("password", "X-Password"))
        }
    )


async def _first_frame(socket: WebSocket) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_LOGIN_WITHIN):
            frame = await frame_of(socket)
    except TimeoutError:
        raise WireError(401, "missing credentials") from None
    if frame.get("action") != "login" or not isinstance(frame.get("data"), dict):
        raise WireError(401, "missing credentials")
    return frame


async def _end(socket: WebSocket, error: WireError) -> None:
    try:
        await say(socket, "error", error.text)
        await socket.close(_CLOSE + error.status)
    except (falcon.WebSocketDisconnected, OSError):
        return


async def _refuse(_request: Any, response: Response, error: WireError, _params: Any, **_: Any) -> None:
    # A WebSocket has none.
    if response is not None:
        response.status = error.status
        _answer(response, {"error": error.text})


async def _away(request: Any, response: Response, _error: OSError, params: Any, **_: Any) -> None:
    await _refuse(request, response, _AWAY, params)


async def _bug(request: Any, response: Response, error: Exception, params: Any, **_: Any) -> None:
    faults.log_bug(request, error)
    await _refuse(request, response, WireError(503, "a bug of this server"), params)


def _serialize(_request: Any, response: Response, error: falcon.HTTPError) -> None:
    response.content_type = falcon.MEDIA_JSON
    # The title of Falcon's own errors is the status: `404 Not Found`.
    response.text = wire.encoded({"error": str(error.title).lower().lstrip("0123456789 ")})
