"""A plain IMAP client over TLS: a mailbox as it lies there, and how soon IDLE tells of new mail."""

from __future__ import annotations

import imaplib
import select
import time
from types import TracebackType
from typing import Self

from tests.chat.person import fresh_address, fresh_password
from tests.chat.smtp import any_certificate
from tests.lab.host import LabHost

_TIMEOUT = 120.0


def new_account(host: LabHost, begin: str = "") -> tuple[str, str]:
    """Address and password of an account, made by its first login."""
    login = fresh_address(host.domain, begin), fresh_password()
    with ImapMailbox(host.ip, *login):
        return login


def capabilities(ip: str) -> tuple[str, ...]:
    """What the server offers before login."""
    session = imaplib.IMAP4_SSL(ip, 993, ssl_context=any_certificate(), timeout=_TIMEOUT)
    try:
        return session.capabilities
    finally:
        session.shutdown()


def told_at_login(ip: str, login: tuple[str, str]) -> set[str]:
    """The capabilities in the response code of the answer to LOGIN (RFC 3501, 7.1)."""
    session = imaplib.IMAP4_SSL(ip, 993, ssl_context=any_certificate(), timeout=_TIMEOUT)
    try:
        session.login(*login)
        _, (told,) = session.response("CAPABILITY")
        assert isinstance(told, bytes)
        return set(told.decode().split())
    finally:
        session.shutdown()


class ImapMailbox:
    """INBOX of one account. Raises `imaplib.IMAP4.error` when the login is refused."""

    def __init__(self, ip: str, address: str, password: str) -> None:
        self.address = address
        self._session = imaplib.IMAP4_SSL(ip, 993, ssl_context=any_certificate(), timeout=_TIMEOUT)
        try:
            self._session.login(address, password)
            self._session.select("INBOX")
        except BaseException:
            self._session.shutdown()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.shutdown()

    def ask(self, command: bytes) -> list[bytes]:
        """Any command and the lines that it is answered with, the last one without its tag."""
        self._session.send(b"x1 " + command + b"\r\n")
        lines = []
        while not (line := self._session.readline()).startswith(b"x1 "):
            if not line:
                raise ConnectionError("the server hung up")
            lines.append(line.rstrip())
        return [*lines, line[3:].rstrip()]

    def find(self, message_id: str) -> bytes | None:
        """The message with this Message-ID as it lies in the Maildir, or None."""
        self._session.noop()
        _, (numbers,) = self._session.search(None, "HEADER", "Message-ID", f"<{message_id}>")
        if not numbers:
            return None
        _, data = self._session.fetch(numbers.split()[0].decode(), "(BODY.PEEK[])")
        part = data[0]
        return part[1] if isinstance(part, tuple) else None

    def messages(self) -> list[bytes]:
        """Every message in the mailbox."""
        self._session.noop()
        _, (numbers,) = self._session.search(None, "ALL")
        found = []
        for number in numbers.split():
            _, data = self._session.fetch(number.decode(), "(BODY.PEEK[])")
            if isinstance(data[0], tuple):
                found.append(data[0][1])
        return found

    def put(self, message: bytes, *, days: float = 0, flags: str = "", folder: str = "INBOX") -> None:
        """Lay a message into a folder (APPEND) as if it had come `days` ago."""
        came = imaplib.Time2Internaldate(time.time() - days * 86400)
        status, data = self._session.append(folder, flags, came, message)
        assert status == "OK", data

    def make_folder(self, name: str) -> None:
        """A folder beside the inbox."""
        assert self._session.create(name)[0] == "OK"

    def folders(self) -> set[str]:
        """All folders with names of one word."""
        _, lines = self._session.list()
        return {one.split()[-1].decode().strip('"') for one in lines if isinstance(one, bytes)}

    def is_open(self) -> bool:
        """Whether the server still answers."""
        try:
            return self._session.noop()[0] == "OK"
        except (imaplib.IMAP4.abort, OSError):
            return False

    def begin_idle(self) -> None:
        """Go into IDLE (RFC 2177) and return when the server has said so."""
        self._session.send(b"i1 IDLE\r\n")
        while not self._session.readline().startswith(b"+"):
            pass

    def stays_quiet(self, seconds: float) -> bool:
        """In IDLE: whether the server says nothing for so long, but `* OK Still here` at times of its own."""
        end = time.monotonic() + seconds
        while select.select([self._session.sock], [], [], max(0.0, end - time.monotonic()))[0]:
            if not self._session.readline().startswith(b"* OK "):
                return False
        return True

    def wait_exists(self) -> float:
        """In IDLE: the moment of the next EXISTS, in seconds since the epoch."""
        while b"EXISTS" not in self._session.readline():
            pass
        return time.time()

    def end_idle(self) -> None:
        """Leave IDLE."""
        self._session.send(b"DONE\r\n")
        while not self._session.readline().startswith(b"i1 "):
            pass
