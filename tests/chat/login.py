"""Logins as they go over the wire, whatever is in the name: SASL PLAIN (RFC 4616), by IMAP and by SMTP.

On port 443 the client names the protocol by ALPN, as Delta Chat does; a web client asks for its mailboxes.
"""

from __future__ import annotations

import http.client
import imaplib
import json
import smtplib
from base64 import b64encode
from collections.abc import Callable

from tests.chat.smtp import any_certificate

_TIMEOUT = 120.0

# Host's IP, user, password: what the server said, "OK" at its beginning where it let in.
Login = Callable[[str, str, str], str]


def by_imap(ip: str, user: str, password: str) -> str:
    """The server's words: a response code such as `[UNAVAILABLE]` first, where there is one."""
    return _by_imap(
        imaplib.IMAP4_SSL(ip, 993, ssl_context=any_certificate(), timeout=_TIMEOUT), user, password
    )


def by_imap_on_443(ip: str, user: str, password: str) -> str:
    """The same on port 443."""
    context = any_certificate("imap")
    return _by_imap(imaplib.IMAP4_SSL(ip, 443, ssl_context=context, timeout=_TIMEOUT), user, password)


def _by_imap(session: imaplib.IMAP4_SSL, user: str, password: str) -> str:
    try:
        session.authenticate("PLAIN", lambda _: _plain(user, password))
    except imaplib.IMAP4.error as error:
        return str(error.args[0])
    finally:
        session.shutdown()
    return "OK"


def by_submission(ip: str, user: str, password: str) -> str:
    """The reply line of SMTP; `OK` for 235."""
    return _by_submission(
        smtplib.SMTP_SSL(ip, 465, timeout=_TIMEOUT, context=any_certificate()), user, password
    )


def by_submission_on_443(ip: str, user: str, password: str) -> str:
    """The same on port 443."""
    context = any_certificate("smtp")
    return _by_submission(smtplib.SMTP_SSL(ip, 443, timeout=_TIMEOUT, context=context), user, password)


def _by_submission(connected: smtplib.SMTP_SSL, user: str, password: str) -> str:
    # Not `with`: it says QUIT, and raises where the server is still at the rest of a line too long for it.
    try:
        connected.ehlo("client.lab")
        code, text = connected.docmd("AUTH", "PLAIN " + b64encode(_plain(user, password)).decode())
    finally:
        connected.close()
    return "OK" if code == 235 else f"{code} {text.decode('utf-8', 'replace')}"


def by_webimap(ip: str, user: str, password: str) -> str:
    """Status and error of an answer; `OK` for 200."""
    client = http.client.HTTPSConnection(ip, 443, timeout=_TIMEOUT, context=any_certificate())
    fields = {"Host": user.partition("@")[2], "X-Email": user, "X-Password": password}
    client.request("GET", "/webimap/mailboxes", headers=fields)
    answer = client.getresponse()
    said = json.load(answer)
    client.close()
    return "OK" if answer.status == 200 else f"{answer.status} {said['error']}"


def _plain(user: str, password: str) -> bytes:
    # Octets that are no UTF-8 are written as surrogates.
    return f"\0{user}\0{password}".encode("utf-8", "surrogateescape")
