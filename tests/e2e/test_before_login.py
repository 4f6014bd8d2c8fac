"""Before login each port says what an ordinary Postfix or Dovecot says: nothing shows a relay for chat.

What clients must know of it is told after login, which `test_push.py` checks.
"""

from __future__ import annotations

import imaplib
import smtplib
from collections.abc import Callable
from typing import Any

import pytest

from tests.chat.smtp import any_certificate
from tests.lab.host import LabHost

SECONDS = 120.0
# What Debian's packages offer by themselves: without TLS or with it.
DOVECOT = {"IMAP4REV1", "SASL-IR", "LOGIN-REFERRALS", "ID", "ENABLE", "IDLE", "LITERAL+"}
DOVECOT |= {"AUTH=PLAIN", "AUTH=LOGIN", "STARTTLS", "LOGINDISABLED"}
POSTFIX = {"pipelining", "size", "vrfy", "etrn", "starttls", "auth", "enhancedstatuscodes", "8bitmime"}
POSTFIX |= {"dsn", "smtputf8", "chunking"}
# `ID` is answered with the first.
NAMES = (b'("name" "Dovecot")', b"Dovecot (Debian) ready.", b"Dovecot ready.")


def imap_143(ip: str) -> imaplib.IMAP4:
    return imaplib.IMAP4(ip, 143, timeout=SECONDS)


def imap_143_starttls(ip: str) -> imaplib.IMAP4:
    session = imap_143(ip)
    session.starttls(any_certificate())
    return session


def imap_993(ip: str) -> imaplib.IMAP4:
    return imaplib.IMAP4_SSL(ip, 993, ssl_context=any_certificate(), timeout=SECONDS)


def imap_443(ip: str) -> imaplib.IMAP4:
    return imaplib.IMAP4_SSL(ip, 443, ssl_context=any_certificate("imap"), timeout=SECONDS)


class Greeted(smtplib.SMTP):
    """Keeps the greeting."""

    greeting: tuple[int, bytes]

    def connect(self, *where: Any, **more: Any) -> tuple[int, bytes]:
        self.greeting = super().connect(*where, **more)
        return self.greeting


class GreetedOverTls(Greeted, smtplib.SMTP_SSL):
    """The same where TLS comes first."""


def smtp_session(ip: str, port: int) -> Greeted:
    if port in (25, 587):
        return Greeted(ip, port, timeout=SECONDS)
    context = any_certificate("smtp") if port == 443 else any_certificate()
    return GreetedOverTls(ip, port, timeout=SECONDS, context=context)


@pytest.mark.parametrize("connect", [imap_143, imap_143_starttls, imap_993, imap_443])
def test_imap_shows_dovecot_and_no_more(b: LabHost, connect: Callable[[str], imaplib.IMAP4]) -> None:
    session = connect(b.ip)
    try:
        greeting = session.welcome.rpartition(b"] ")[2].rstrip()
        assert greeting in NAMES
        assert {word.upper() for word in session.capabilities} <= DOVECOT
        _, (offered,) = session.capability()
        assert set(offered.decode().upper().split()) <= DOVECOT
        session.xatom("ID", "NIL")
        assert session.response("ID")[1] == [NAMES[0]]
    finally:
        session.shutdown()


@pytest.mark.parametrize("port", [25, 587, 465, 443])
def test_smtp_shows_postfix_and_no_more(b: LabHost, port: int) -> None:
    with smtp_session(b.ip, port) as session:
        assert session.greeting == (220, f"{b.domain} ESMTP".encode())
        session.ehlo("client.lab")
        assert session.esmtp_features.keys() <= POSTFIX
        if port in (25, 587):
            session.starttls(context=any_certificate())
            session.ehlo("client.lab")
            assert session.esmtp_features.keys() <= POSTFIX
