"""A user's session on port 465, one command at a time, and how long each answer took.

Certificates are not looked at: it is the server that is measured.
"""

from __future__ import annotations

import socket
import ssl
import time
from base64 import b64encode
from contextlib import suppress

from tests.bench.mail.sessions import SessionRefusedError
from tests.chat.smtp import any_certificate

# What a client waits for, in order: the first three once in a session, the others for each message.
HANDSHAKE, GREETING, LOGIN = "TCP and TLS", "greeting", "EHLO and AUTH"
MAIL, RCPT, DATA, QUEUED = "MAIL", "RCPT", "DATA", "dot to 250"

Login = tuple[str, str]
Stages = dict[str, list[float]]

_LATE = 60.0  # seconds for an answer
# Made once, as it reads the machine's certificates.
_TLS = any_certificate()


class Submission:
    """Logged in. `stages` gets the milliseconds of each. Raises `SessionRefusedError`, `OSError`."""

    def __init__(self, place: tuple[str, int], login: Login, stages: Stages) -> None:
        self._stages = stages
        began = time.monotonic()
        plain = socket.create_connection(place, timeout=_LATE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket: ssl.SSLSocket = _TLS.wrap_socket(plain)
        self._lines = self._socket.makefile("rb")
        secured = self._note(HANDSHAKE, began)
        self._expect(b"220")
        greeted = self._note(GREETING, secured)
        self._ask(b"EHLO [127.0.0.1]")
        self._ask(b"AUTH PLAIN " + b64encode("\0".join(("", *login)).encode()), b"235")
        self._note(LOGIN, greeted)

    def send(self, sender: str, recipient: str, text: bytes) -> tuple[float, float]:
        """The moments when MAIL was said, and when the message was queued (monotonic)."""
        began = time.monotonic()
        self._ask(f"MAIL FROM:<{sender}>".encode())
        mail = self._note(MAIL, began)
        self._ask(f"RCPT TO:<{recipient}>".encode())
        rcpt = self._note(RCPT, mail)
        self._ask(b"DATA", b"354")
        data = self._note(DATA, rcpt)
        self._ask(text + b".")
        return began, self._note(QUEUED, data)

    def close(self) -> None:
        """End it in order."""
        with suppress(SessionRefusedError, OSError):
            self._ask(b"QUIT", b"221")
        self._lines.close()
        self._socket.close()

    def _ask(self, words: bytes, code: bytes = b"250") -> None:
        self._socket.sendall(words + b"\r\n")
        self._expect(code)

    def _expect(self, code: bytes) -> None:
        """Read one reply, to its last line."""
        while (line := self._lines.readline())[3:4] == b"-":
            pass
        if not line.startswith(code):
            raise SessionRefusedError(line.decode(errors="replace").strip() or "the server hung up")

    def _note(self, stage: str, began: float) -> float:
        now = time.monotonic()
        self._stages.setdefault(stage, []).append((now - began) * 1e3)
        return now
