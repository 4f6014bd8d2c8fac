"""The road by SMTP: port 25 of a mail host, with STARTTLS if it is offered, command by command (RFC 5321)."""

from __future__ import annotations

import smtplib
import socket
import ssl

from mxdeliv_app.mxdeliv import wire
from mxdeliv_app.probe import identity, tls
from mxdeliv_app.probe.connect import Network
from mxdeliv_app.probe.steps import Attempt, FailedError

PORT = 25
_FAILURES = (OSError, smtplib.SMTPException, ValueError)


def attempt(host: str, sender: str, recipient: str, message: bytes, network: Network, helo: str) -> Attempt:
    """Try `host` with `message`; canonical addresses. `helo` is our name. What failed is in the result."""
    found = Attempt("smtp", host)
    try:
        client = _Client(network.connect(found, host, PORT), helo, network.timeout)
        with client:
            _converse(client, found, host, sender, recipient, message)
    except FailedError:
        pass
    except (OSError, smtplib.SMTPException):
        # The goodbye went wrong; all that counts was said before.
        pass
    return found


def _converse(
    client: _Client, found: Attempt, host: str, sender: str, recipient: str, message: bytes
) -> None:
    with found.step("greeting", _FAILURES) as step:
        code, banner = client.greeting(host)
        step.found = f"{code} {wire.one_line(banner)}"
        found.identity = identity.of_mail_server(step.found)
        _need(step.found, code, 220)
    with found.step("EHLO", _FAILURES) as step:
        client.ehlo_or_helo_if_needed()
        step.found = " ".join(sorted(client.esmtp_features)).upper()
    if client.has_extn("starttls"):
        with found.step("TLS", (*_FAILURES, *tls.FAILURES)) as step:
            # Not verified: neither does Postfix, unless the domain has MTA-STS or DANE.
            client.starttls(context=tls.context(verify=False))
            step.found = tls.facts(client.secured)
            client.ehlo_or_helo_if_needed()
    with found.step("MAIL", _FAILURES) as step:
        size = [f"SIZE={len(message)}"] if client.has_extn("size") else []
        code, words = client.mail(sender, size)
        step.found = f"{code} {wire.one_line(words)}"
        _need(step.found, code, 250)
    with found.step("RCPT", _FAILURES) as step:
        code, words = client.rcpt(recipient)
        step.found = f"{code} {wire.one_line(words)}"
        found.code, found.reply = code, step.found
    if code // 100 != 2:
        return
    with found.step("message", _FAILURES) as step:
        code, words = client.data(message)
        step.found = f"{code} {wire.one_line(words)}"
        found.code, found.reply = code, step.found


def _need(said: str, code: int, wanted: int) -> None:
    if code != wanted:
        raise smtplib.SMTPException(said)


class _Client(smtplib.SMTP):
    """smtplib over a connection that is there."""

    def __init__(self, connection: socket.socket, helo: str, timeout: float) -> None:
        self._opened = connection
        super().__init__(local_hostname=helo, timeout=timeout)

    def greeting(self, host: str) -> tuple[int, bytes]:
        """What the host says first."""
        self._host = host  # what smtplib asks TLS for
        return self.connect(host, PORT)

    @property
    def secured(self) -> ssl.SSLSocket:
        """The connection, once it is in TLS."""
        if not isinstance(self.sock, ssl.SSLSocket):
            raise TypeError("no TLS yet")
        return self.sock

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._opened
