"""Raw SMTP as users submit (465, 587) and as strangers deliver (25). Answers are values, refusals too.

Connects from the lab's control side straight to a host's address. Certificates are the lab's own, or
self-signed; they are not what these sessions are about.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from tests.chat import pgp

_TIMEOUT = 120.0


@dataclass(frozen=True)
class SmtpReply:
    """The answer that ended a session: where it came, its code and its words."""

    stage: str
    code: int
    text: str

    @property
    def line(self) -> str:
        """As SMTP writes it."""
        return f"{self.code} {self.text}"


def submit(
    ip: str, login: tuple[str, str], recipients: Sequence[str], message: bytes, *, sender: str | None = None
) -> SmtpReply:
    """Log in with TLS on 465 and submit. `sender` is the envelope's, the login's address if left out."""

    def connect() -> smtplib.SMTP:
        return smtplib.SMTP_SSL(ip, 465, timeout=_TIMEOUT, context=any_certificate())

    return _session(connect, login, login[0] if sender is None else sender, recipients, message)


def send(ip: str, login: tuple[str, str], *recipients: str) -> str:
    """Submit an encrypted message, which must be taken; its Message-ID."""
    mid = pgp.message_id()
    reply = submit(ip, login, recipients, pgp.encrypted(login[0], recipients[0], mid))
    assert reply.code == 250, reply
    return mid


def submit_starttls(ip: str, login: tuple[str, str], recipients: Sequence[str], message: bytes) -> SmtpReply:
    """The same on 587, with STARTTLS."""
    return _session(lambda: _with_starttls(ip, 587), login, login[0], recipients, message)


def deliver(ip: str, sender: str, recipients: Sequence[str], message: bytes) -> SmtpReply:
    """Deliver as a stranger does: port 25, STARTTLS, no login."""
    return _session(lambda: _with_starttls(ip, 25), None, sender, recipients, message)


@contextmanager
def logged_in(ip: str, login: tuple[str, str]) -> Iterator[smtplib.SMTP]:
    """A session on 465 that has logged in and goes on."""
    with smtplib.SMTP_SSL(ip, 465, timeout=_TIMEOUT, context=any_certificate()) as session:
        session.login(*login)
        yield session


def peer(ip: str) -> smtplib.SMTP:
    """A stranger's session on port 25, with STARTTLS, that goes on; a context manager."""
    return _with_starttls(ip, 25)


@contextmanager
def logged_in_by_starttls(ip: str, login: tuple[str, str]) -> Iterator[smtplib.SMTP]:
    """The same on 587."""
    with _with_starttls(ip, 587) as session:
        session.login(*login)
        yield session


def transact(
    session: smtplib.SMTP, sender: str, recipients: Sequence[str], message: bytes
) -> tuple[list[str], SmtpReply]:
    """One message for recipients as they are written: the answers to RCPT, and the last one of all.

    They go out in UTF-8, surrogates as the octets that they stand for (PEP 383). If nobody is accepted, the
    last answer to RCPT is the last of all.
    """
    session.ehlo_or_helo_if_needed()
    session.docmd("MAIL", f"FROM:<{sender}>")
    replies = []
    for one in recipients:
        session.send(f"RCPT TO:<{one}>\r\n".encode(errors="surrogateescape"))
        replies.append(_reply("RCPT", *session.getreply()))
    end = replies[-1]
    if any(reply.code == 250 for reply in replies):
        try:
            end = _reply("DATA", *session.data(message))
        except smtplib.SMTPDataError as error:
            end = _reply("DATA", error.smtp_code, error.smtp_error)
    session.rset()
    return [reply.line for reply in replies], end


def begin(session: smtplib.SMTP, sender: str, recipients: Sequence[str]) -> list[str]:
    """Say MAIL and RCPT and then RSET; the answers to the recipients, as SMTP writes them."""
    session.mail(sender)
    answers = [_reply("RCPT", *session.rcpt(one)).line for one in recipients]
    session.rset()
    return answers


def any_certificate(*alpn: str) -> ssl.SSLContext:
    """TLS that takes any certificate, as chat clients do for the lab's domains. `alpn`: RFC 7301's names."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def _with_starttls(ip: str, port: int) -> smtplib.SMTP:
    session = smtplib.SMTP(ip, port, local_hostname="control.lab", timeout=_TIMEOUT)
    session.ehlo_or_helo_if_needed()
    if session.has_extn("starttls"):
        session.starttls(context=any_certificate())
    return session


def _session(
    connect: Callable[[], smtplib.SMTP],
    login: tuple[str, str] | None,
    sender: str,
    recipients: Sequence[str],
    message: bytes,
) -> SmtpReply:
    stage = "HELO"
    try:
        with connect() as session:
            session.ehlo_or_helo_if_needed()
            if login:
                stage = "AUTH"
                session.login(*login)
            steps: list[tuple[str, Callable[[], tuple[int, bytes]]]] = [
                ("MAIL", lambda: session.mail(sender)),
                *(("RCPT", partial(session.rcpt, one)) for one in recipients),
                ("DATA", lambda: session.data(message)),
            ]
            code, text = 0, b""
            for name, step in steps:
                stage, (code, text) = name, step()
                if code >= 400:
                    break
            return _reply(stage, code, text)
    except smtplib.SMTPResponseException as error:
        return _reply(stage, error.smtp_code, error.smtp_error)


def _reply(stage: str, code: int, text: bytes | str) -> SmtpReply:
    return SmtpReply(stage, code, text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
