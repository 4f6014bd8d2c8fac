"""Submits a user's message to Postfix, with the user's password: checks and limits are those of port 465."""

from __future__ import annotations

import base64
import smtplib
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mxdeliv_app.webimap.loopback import TIMEOUT, Server, connect
from mxdeliv_app.webimap.wire import WireError

# Seconds: milters may take as long. A client that hears too early that it failed sends the message again.
_LAST_REPLY = 300.0


def send(
    server: Server, client: str, login: tuple[str, str], recipients: Sequence[str], message: bytes
) -> None:
    """Sends to all recipients or to none. Raises `WireError` with what Postfix said, and `OSError`."""
    session = _ProxiedSession(server, client)
    try:
        secret = base64.b64encode("\0".join(("", *login)).encode("utf-8")).decode("ascii")
        _expect(235, session.docmd("AUTH PLAIN", secret))
        # RFC 6152: a message may hold any octets.
        _expect(250, session.mail(login[0], ["BODY=8BITMIME"]))
        for one in recipients:
            _expect(250, session.rcpt(one))
        session.connection.settimeout(_LAST_REPLY)
        try:
            _expect(250, session.data(message))
        except smtplib.SMTPDataError as error:
            _expect(250, (error.smtp_code, error.smtp_error))
    finally:
        # Whatever the answer is, what was accepted stays accepted.
        with suppress(OSError):
            session.quit()
        session.close()


class _ProxiedSession(smtplib.SMTP):
    def __init__(self, server: Server, client: str) -> None:
        self._server, self._client = server, client
        super().__init__(server.host, server.port, local_hostname="webimap", timeout=TIMEOUT)
        self.ehlo()

    connection: socket.socket

    def _get_socket(self, _host: Any, _port: Any, _timeout: Any) -> socket.socket:
        self.connection = connect(self._server, self._client)
        return self.connection


def _expect(wanted: int, reply: tuple[int, bytes | str]) -> None:
    code, said = reply
    if code == wanted:
        return
    line = f"{code} {said.decode('utf-8', 'replace') if isinstance(said, bytes) else said}".replace("\n", " ")
    if code == 535:
        raise WireError(401, "authentication failed")
    # RFC 5321, 4.2.1: 4yz is temporary. 552 is size or quota.
    raise WireError(503 if code < 500 else 413 if code == 552 else 400, line)
