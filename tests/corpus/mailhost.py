"""A mail server on loopback, enough for a chat core: what it submits is kept, octet for octet, and delivered.

SMTP submission (aiosmtpd) and the part of IMAP (RFC 9051, 2177 IDLE) that Delta Chat's core asks for. No TLS,
any password, nothing on disk: for making samples, where a relay would change the header before we see it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

# XCHATMAIL is how a chatmail relay tells the core that it is one.
_CAPABILITIES = "IMAP4rev1 IDLE UIDPLUS MOVE XCHATMAIL"
# It warns at every login that a field of its own will go away.
logging.getLogger("mail.log").setLevel(logging.ERROR)

_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n$")


@dataclass(frozen=True)
class Submitted:
    """A message as it came in: envelope and octets, lines end with CRLF."""

    sender: str
    recipients: tuple[str, ...]
    octets: bytes


class MailHost:
    """Mailboxes by address, and all that was submitted. A context manager; the servers run in a thread."""

    def __init__(self) -> None:
        self.submitted: list[Submitted] = []
        self.smtp_port = 0
        self.imap_port = 0
        self._boxes: dict[str, dict[int, bytes]] = defaultdict(dict)
        self._next_uid: dict[str, int] = defaultdict(lambda: 1)
        self._arrived = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> MailHost:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(120)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(120)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(120)
        self._loop.close()

    async def _listen(self) -> None:
        def submission() -> SMTP:
            # The sizes: large files are submitted on purpose.
            return SMTP(
                self,
                data_size_limit=50_000_000,
                auth_require_tls=False,
                authenticator=_anybody,
                enable_SMTPUTF8=True,
            )

        smtp = await self._loop.create_server(submission, "127.0.0.1", 0)
        imap = await asyncio.start_server(self._serve_imap, "127.0.0.1", 0, limit=1 << 20)
        self._servers = [smtp, imap]
        self.smtp_port = smtp.sockets[0].getsockname()[1]
        self.imap_port = imap.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        octets = bytes(envelope.content)
        self.submitted.append(Submitted(envelope.mail_from, tuple(envelope.rcpt_tos), octets))
        for recipient in envelope.rcpt_tos:
            self._boxes[recipient][self._next_uid[recipient]] = octets
            self._next_uid[recipient] += 1
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()
        return "250 2.0.0 OK"

    async def _serve_imap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            await _Session(self, reader, writer).serve()


def _anybody(*_: Any) -> AuthResult:
    return AuthResult(success=True)


class _Session:
    """One IMAP connection."""

    def __init__(self, host: MailHost, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer
        self._user = ""

    @property
    def _box(self) -> dict[int, bytes]:
        return self._host._boxes[self._user]

    async def serve(self) -> None:
        self._say("* OK [CAPABILITY " + _CAPABILITIES + "] ready")
        while line := await self._command():
            tag, _, rest = line.partition(" ")
            name, _, arguments = rest.partition(" ")
            if name.upper() == "UID":
                name, _, arguments = arguments.partition(" ")
            if name.upper() == "IDLE":
                await self._idle()
            else:
                _COMMANDS.get(name.upper(), _Session._nothing)(self, arguments)
            self._say(f"{tag} OK done")
            await self._writer.drain()
            if name.upper() == "LOGOUT":
                return

    async def _command(self) -> str:
        line = await self._reader.readline()
        while literal := _LITERAL.search(line):
            self._say("+ go on")
            line = (
                line[: literal.start()]
                + await self._reader.readexactly(int(literal[1]))
                + await self._reader.readline()
            )
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def _say(self, line: str | bytes) -> None:
        self._writer.write((line.encode() if isinstance(line, str) else line) + b"\r\n")

    async def _idle(self) -> None:
        self._say("+ idling")
        done = asyncio.ensure_future(self._reader.readline())
        known = len(self._box)
        while not done.done():
            arrived = asyncio.ensure_future(self._host._arrived.wait())
            await asyncio.wait((done, arrived), return_when=asyncio.FIRST_COMPLETED)
            arrived.cancel()
            if len(self._box) != known:
                known = len(self._box)
                self._say(f"* {known} EXISTS")
                await self._writer.drain()

    def _nothing(self, _arguments: str) -> None:
        pass

    def _capability(self, _arguments: str) -> None:
        self._say("* CAPABILITY " + _CAPABILITIES)

    def _login(self, arguments: str) -> None:
        self._user = arguments.split(" ")[0].strip('"')

    def _list(self, _arguments: str) -> None:
        self._say('* LIST (\\HasNoChildren) "/" INBOX')

    def _select(self, _arguments: str) -> None:
        self._say(f"* {len(self._box)} EXISTS")
        self._say("* 0 RECENT")
        self._say("* FLAGS (\\Seen \\Deleted)")
        self._say("* OK [PERMANENTFLAGS (\\Seen \\Deleted)] ok")
        self._say("* OK [UIDVALIDITY 1] ok")
        self._say(f"* OK [UIDNEXT {self._host._next_uid[self._user]}] ok")

    def _status(self, _arguments: str) -> None:
        next_uid = self._host._next_uid[self._user]
        self._say(f"* STATUS INBOX (MESSAGES {len(self._box)} UIDNEXT {next_uid} UIDVALIDITY 1)")

    def _fetch(self, arguments: str) -> None:
        wanted, _, items = arguments.partition(" ")
        for number, uid in enumerate(sorted(self._box), 1):
            if not _in_set(uid, wanted):
                continue
            octets = self._box[uid]
            section = re.search(r"BODY\.PEEK(\[[^]]*\])", items)
            answer = f"* {number} FETCH (UID {uid} FLAGS () RFC822.SIZE {len(octets)} ".encode()
            answer += b'INTERNALDATE "01-Jan-2026 00:00:00 +0000"'
            if section is not None:
                text = octets if section[1] == "[]" else octets.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                answer += f" BODY{section[1]} {{{len(text)}}}\r\n".encode() + text
            self._say(answer + b")")

    def _store(self, arguments: str) -> None:
        if "\\Deleted" in arguments:
            for uid in [uid for uid in self._box if _in_set(uid, arguments.partition(" ")[0])]:
                del self._box[uid]


def _in_set(uid: int, wanted: str) -> bool:
    """RFC 9051, 9: sequence-set."""
    for piece in wanted.split(","):
        low, colon, high = piece.partition(":")
        least = int(low) if low != "*" else 1
        most = least if not colon else int(high) if high != "*" else uid
        if least <= uid <= most:
            return True
    return False


_COMMANDS: dict[str, Callable[[_Session, str], None]] = {
    "CAPABILITY": _Session._capability,
    "LOGIN": _Session._login,
    "LIST": _Session._list,
    "SELECT": _Session._select,
    "EXAMINE": _Session._select,
    "STATUS": _Session._status,
    "FETCH": _Session._fetch,
    "STORE": _Session._store,
}
