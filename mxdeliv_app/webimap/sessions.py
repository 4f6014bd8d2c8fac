"""WebSessions of web clients: threads for what blocks, and the bounds that all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from chatmail_milter.config import Config
from mxdeliv_app.webimap import submission, wire
from mxdeliv_app.webimap.bounds import Octets, Places, network
from mxdeliv_app.webimap.loopback import Server
from mxdeliv_app.webimap.mailbox import WebMailbox

Result = TypeVar("Result")
# Wrong passwords are answered late, so they occupy threads: others' commands have threads of their own.
_LOGINS, _LOGINS_OF_A_NETWORK, _COMMANDS = 200, 10, 64
# Of messages. Each is several times in memory, as octets, text and JSON. Small ones wait for no large ones.
_OCTETS, _SMALL = 64 << 20, 1 << 20


class WebSessions:
    """Makes sessions of users with Dovecot and Postfix."""

    def __init__(self, config: Config) -> None:
        self.settings = config.webimap
        self.largest = config.mail.max_message_size
        self._most_recipients = config.mail.max_recipients
        certificate = Path(config.webimap.certificate)
        self._imap = Server(*config.listen.webimap_imaps.pair, certificate)
        self._smtp = Server(*config.listen.webimap_submissions.pair, certificate)
        self._logins = Places(_LOGINS_OF_A_NETWORK, "too many logins at once from this address")
        self._of_account = Places(config.webimap.connections, "too many connections of this account")
        self._octets, self._small_octets = Octets(_OCTETS), Octets(_OCTETS)
        self._login_threads = ThreadPoolExecutor(_LOGINS, "login")
        self._threads = ThreadPoolExecutor(_COMMANDS, "command")

    @asynccontextmanager
    async def mailbox(self, client: str, login: tuple[str, str]) -> AsyncIterator[WebMailbox]:
        """Logs in. Raises `WireError`, and `OSError` if Dovecot is away."""
        with self._logins.take(network(client)):
            mailbox = await self._in(self._login_threads, WebMailbox, self._imap, client, login)
        try:
            # Only now: else a wrong password would take the owner's places.
            with self._of_account.take(login[0].lower()):
                yield mailbox
        finally:
            mailbox.close()

    async def work(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a method of a mailbox returns."""
        return await self._in(self._threads, function, *arguments)

    def hold(self, octets: int) -> AbstractAsyncContextManager[None]:
        """Counts octets in memory. Raises `WireError` (503)."""
        return (self._small_octets if octets <= _SMALL else self._octets).hold(octets)

    @asynccontextmanager
    async def result(self, mailbox: WebMailbox, action: Any, data: dict[str, Any]) -> AsyncIterator[Any]:
        """Does an action. A whole message counts among the octets in memory while the result is in use."""
        octets = await self.work(mailbox.size, data) if action == "fetch" else 0
        async with self.hold(octets):
            yield await self.work(mailbox.do, action, data)

    async def send(self, client: str, login: tuple[str, str], data: dict[str, Any]) -> dict[str, str]:
        """Submits a message, always as the user who logged in: `from` may name nobody else."""
        if str(data.get("from") or login[0]).lower() != login[0].lower():
            raise wire.WireError(400, "from: wants the address of the login")
        recipients = wire.recipients(data, self._most_recipients)
        message = wire.message(data, self.largest)
        with self._logins.take(network(client)):
            await self._in(
                self._login_threads, submission.send, self._smtp, client, login, recipients, message
            )
        return {"status": "sent"}

    async def _in(
        self, threads: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any
    ) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
