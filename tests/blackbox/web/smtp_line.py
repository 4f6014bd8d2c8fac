"""A connection on which a test speaks SMTP octet by octet, as no SMTP library would."""

from __future__ import annotations

import socket
import ssl
from types import TracebackType
from typing import Self

_SECONDS = 60.0


class SmtpLine:
    """A connection to `host`:`port`; a context manager. The greeting is still to be read."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), _SECONDS)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def write(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def read(self) -> str:
        """A reply with all of its lines, without the last line ending. Raises `EOFError` at the end."""
        lines = []
        while True:
            line = self._file.readline()
            if not line:
                raise EOFError("the server hung up")
            lines.append(line.decode())
            if line[3:4] != b"-":
                return "".join(lines).rstrip("\r\n")

    def ask(self, command: str) -> str:
        """The reply to one command."""
        self.write(f"{command}\r\n".encode("ascii"))
        return self.read()

    def start_tls(self) -> None:
        """After a positive reply to STARTTLS: any certificate will do."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._file.close()
        self._socket = context.wrap_socket(self._socket)
        self._file = self._socket.makefile("rb")
