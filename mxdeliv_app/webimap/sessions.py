"""Sessions of web clients: runs their blocking calls in threads, within the limits that all share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from chatmail_milter.config import Config
from chatmail_milter.fair_share import BusyError
from mxdeliv_app.webimap import submission, wire
from mxdeliv_app.webimap.bounds import BeforeLogin, Owner, Places, Shares, Turns
from mxdeliv_app.webimap.loopback import Server
from mxdeliv_app.webimap.mailbox import WebMailbox
from mxdeliv_app.webimap.wire import WireError

Result = TypeVar("Result")
Login = tuple[str, str]
# Sockets and requests that have logged in, and those that have not. The role nginx has room for both.
CONNECTIONS, _BEFORE_LOGIN = 4000, 1000
# Wrong passwords are answered late, so they occupy threads: others' commands have threads of their own.
_LOGINS, _LOGINS_OF_A_NETWORK, _COMMANDS = 200, 10, 64
# Requests in memory, by their octets. Each takes several times as much, as octets, text and JSON. The largest
# come one at a time; others are small beside what all share, so that there is always room for one.
_OCTETS, _SMALL, _MEDIUM = 64 << 20, 1 << 20, 8 << 20
# Frames in memory that are neither small nor complete.
_FRAMES = 64
# Octets of a message that are in memory for a client that reads it.
_PIECE = 256 << 10


class WebSessions:
    """Makes sessions of users with Dovecot and Postfix."""

    def __init__(self, config: Config) -> None:
        self.settings = config.webimap
        self.largest = config.mail.max_message_size
        self.most_recipients = config.mail.max_recipients
        certificate = Path(config.webimap.certificate)
        self._imap = Server(*config.listen.webimap_imaps.pair, certificate)
        self._smtp = Server(*config.listen.webimap_submissions.pair, certificate)
        self._before_login = BeforeLogin(_BEFORE_LOGIN)
        self._connections, self.frames = Shares(CONNECTIONS), Shares(_FRAMES)
        self._logins = Places(_LOGINS_OF_A_NETWORK, "too many logins at once from this address")
        self._of_account = Places(config.webimap.connections, "too many connections of this account")
        self._login_turns, self.turns = Turns(_LOGINS), Turns(_COMMANDS)
        self._login_threads = ThreadPoolExecutor(_LOGINS, "login")
        self.threads = ThreadPoolExecutor(_COMMANDS, "command")
        self.small, self.medium, self.large = Turns(_OCTETS), Turns(_OCTETS), Turns(1)

    @asynccontextmanager
    async def session(
        self, client: str, credentials: Callable[[], Awaitable[Login]]
    ) -> AsyncIterator[WebSession]:
        """Logs in. Raises `WireError`, and `OSError` if Dovecot is away."""
        owner = Owner.at(client)
        async with AsyncExitStack() as turn:
            async with self._before_login.take(owner):
                login = await credentials()
                await turn.enter_async_context(self._login_turn(owner))
            mailbox = await _in(self._login_threads, WebMailbox, self._imap, client, login)
        try:
            # Only now: else a wrong password would take the owner's places.
            with self._of_account.take(login[0].lower()), self._connected(owner):
                yield WebSession(self, mailbox, client, login)
        finally:
            mailbox.close()

    async def submit(self, client: str, login: Login, recipients: list[str], message: bytes) -> None:
        """Submits a message."""
        async with self._login_turn(Owner.at(client)):
            await _in(self._login_threads, submission.send, self._smtp, client, login, recipients, message)

    @asynccontextmanager
    async def _login_turn(self, owner: Owner) -> AsyncIterator[None]:
        with self._logins.take(owner.name):
            async with self._login_turns.take(owner):
                yield

    def _connected(self, owner: Owner) -> ExitStack:
        try:
            return self._connections.take(owner)
        except BusyError:
            raise WireError(503, "too many connections, try again later") from None


class WebSession:
    """A user who is logged in."""

    def __init__(self, sessions: WebSessions, mailbox: WebMailbox, client: str, login: Login) -> None:
        self.mailbox = mailbox
        self._sessions, self._client, self._login = sessions, client, login
        self._owner = Owner.at(client, login[0])

    async def work(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Runs a blocking or slow function in a thread; returns its result."""
        async with self._sessions.turns.take(self._owner):
            return await _in(self._sessions.threads, function, *arguments)

    def hold(self, octets: int) -> AbstractAsyncContextManager[None]:
        """Counts octets in memory. Raises `WireError` (503)."""
        if octets > _MEDIUM:
            return self._sessions.large.take(self._owner)
        some = self._sessions.small if octets <= _SMALL else self._sessions.medium
        return some.take(self._owner, octets)

    def frame(self) -> ExitStack:
        """Counts a large frame in memory, until the stack is closed. Raises `BusyError`."""
        return self._sessions.frames.take(self._owner)

    async def fetch(self, data: dict[str, Any]) -> AsyncIterator[str]:
        """The JSON of a message, in pieces: each is read when the client has taken the one before.

        So a client that reads slowly holds one piece and its own session, however large the message is.
        Raises `WireError` before the first piece only.
        """
        summary = await self.work(self.mailbox.summary, data)
        yield wire.encoded(summary)[:-1] + ',"body":"'
        decoder, start, last = wire.decoder(), 0, False
        while not last:
            octets = await self.work(self.mailbox.piece, data, start, _PIECE)
            start += len(octets)
            last = len(octets) < _PIECE
            yield wire.encoded(decoder.decode(octets, last))[1:-1]
        yield '"}'

    async def send(self, data: dict[str, Any]) -> dict[str, str]:
        """Submits a message, always as the user who logged in: `from` may name nobody else."""
        login = self._login
        if str(data.get("from") or login[0]).lower() != login[0].lower():
            raise WireError(400, "from: wants the address of the login")
        recipients = wire.recipients(data, self._sessions.most_recipients)
        message = wire.message(data, self._sessions.largest)
        await self._sessions.submit(self._client, login, recipients, message)
        return {"status": "sent"}


async def _in(threads: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any) -> Result:
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
