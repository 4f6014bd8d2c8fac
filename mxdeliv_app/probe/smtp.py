"""Probes SMTP: port 25 of a mail host, with STARTTLS if offered, command by command (RFC 5321)."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

from chatmail_milter.time_limit import TimeLimit
from mxdeliv_app.mxdeliv import wire
from mxdeliv_app.probe import identity
from mxdeliv_app.probe.connect import Network, tls_context, tls_facts
from mxdeliv_app.probe.steps import FailedError, ProbeAttempt, Step

PORT = 25
# Octets of one reply, all its lines. RFC 5321, 4.5.3.1.5, has 512 for a line; replies to EHLO have some 500.
MOST_OF_A_REPLY = 1 << 14
_FAILURES = (OSError, smtplib.SMTPException, ValueError)


def attempt(
    host: str, sender: str, recipient: str, message: bytes, network: Network, helo: str
) -> ProbeAttempt:
    """Sends `message` to `host`. Addresses are canonical. `helo`: our name. A failure is in the result."""
    found = ProbeAttempt("smtp", host)
    with contextlib.suppress(FailedError):
        client = _Client(network.connect(found, host, PORT), helo, network.timeout)
        try:
            _Conversation(client, found, network.limit).hold(host, sender, recipient, message)
        finally:
            # All that counts was said before. RFC 5321, 4.1.1.10: the reply to QUIT is waited for.
            with contextlib.suppress(*_FAILURES), network.limit.step():
                client.quit()
            client.close()
            network.limit.release()
    return found


@dataclass(frozen=True, slots=True)
class _Conversation:
    """The SMTP session with one host; each command is a step."""

    client: _Client
    found: ProbeAttempt
    limit: TimeLimit

    def hold(self, host: str, sender: str, recipient: str, message: bytes) -> None:
        """All of them. Raises `FailedError`."""
        client, found = self.client, self.found
        with self._step("greeting") as step:
            code, banner = client.greeting(host)
            step.found = f"{code} {wire.one_line(banner)}"
            found.identity = identity.of_mail_server(step.found)
            _need(step.found, code, 220)
        with self._step("EHLO") as step:
            client.ehlo_or_helo_if_needed()
            step.found = " ".join(sorted(client.esmtp_features)).upper()
        if client.has_extn("starttls"):
            with self._step("TLS") as step:
                # Not verified: neither does Postfix, unless the domain has MTA-STS or DANE.
                client.starttls(context=tls_context(verify=False))
                step.found = tls_facts(client.secured)
                client.ehlo_or_helo_if_needed()
        with self._step("MAIL") as step:
            size = [f"SIZE={len(message)}"] if client.has_extn("size") else []
            code, words = client.mail(sender, size)
            step.found = f"{code} {wire.one_line(words)}"
            _need(step.found, code, 250)
        with self._step("RCPT") as step:
            code, words = client.rcpt(recipient)
            step.found = f"{code} {wire.one_line(words)}"
            found.code, found.reply = code, step.found
        if code // 100 != 2:
            return
        with self._step("message") as step:
            code, words = client.data(message)
            step.found = f"{code} {wire.one_line(words)}"
            found.code, found.reply = code, step.found

    def _step(self, name: str) -> AbstractContextManager[Step]:
        return self.found.step(name, _FAILURES, self.limit)


def _need(said: str, code: int, wanted: int) -> None:
    if code != wanted:
        raise smtplib.SMTPException(said)


class _Client(smtplib.SMTP):
    """smtplib over an existing connection."""

    def __init__(self, connection: socket.socket, helo: str, timeout: float) -> None:
        self._opened = connection
        super().__init__(local_hostname=helo, timeout=timeout)

    def greeting(self, host: str) -> tuple[int, bytes]:
        """Reads the greeting."""
        self._host = host  # what smtplib asks TLS for
        return self.connect(host, PORT)

    def getreply(self) -> tuple[int, bytes]:
        """A reply. Raises `SMTPServerDisconnected` for one of more than `MOST_OF_A_REPLY`."""
        if self.file is None and self.sock is not None:
            self.file = _Replies(self.sock.makefile("rb"))
        if self.file is not None:
            self.file.left = MOST_OF_A_REPLY
        return super().getreply()

    @property
    def secured(self) -> ssl.SSLSocket:
        """The connection after STARTTLS."""
        if not isinstance(self.sock, ssl.SSLSocket):
            raise TypeError("no TLS yet")
        return self.sock

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._opened

    def close(self) -> None:
        """Closes the connection, even an unused one."""
        super().close()
        self._opened.close()


class _Replies:
    """A file from which smtplib reads reply lines. `left`: octets that the reply may still have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = 0

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        self.left -= len(line)
        if self.left < 0:
            raise OSError(f"a reply of more than {MOST_OF_A_REPLY} octets")
        if line and not line.endswith(b"\n") and len(line) != limit:
            raise OSError("the connection ended in a reply")  # smtplib takes that for all of it
        return line

    def close(self) -> None:
        self._file.close()
