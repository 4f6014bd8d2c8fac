"""Senders while the playbook runs: one message after the other, at a bounded rate, each until it is taken.

As an app does: what was refused for now is submitted again. Only a message whose text was sent, and whose
answer was cut off, is not: whether it was taken its sender does not know. It may be there, once.
"""

from __future__ import annotations

import contextlib
import smtplib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep

from tests.chat import pgp
from tests.chat.smtp import any_certificate
from tests.upgrade.mailbox import Login

# An account may send 60 messages in a minute.
_EACH = 2.0
_PAUSE = 1.0
_TIMEOUT = 60.0

Connect = Callable[[], smtplib.SMTP]


def by_tls(ip: str, login: Login) -> Connect:
    """A user's session on 465."""

    def connect() -> smtplib.SMTP:
        session = smtplib.SMTP_SSL(ip, 465, timeout=_TIMEOUT, context=any_certificate())
        return _log_in(session, login)

    return connect


def by_starttls(ip: str, login: Login) -> Connect:
    """A user's session on 587."""

    def connect() -> smtplib.SMTP:
        session = smtplib.SMTP(ip, 587, local_hostname="phone.invalid", timeout=_TIMEOUT)
        session.starttls(context=any_certificate())
        return _log_in(session, login)

    return connect


def by_another_server(ip: str) -> Connect:
    """A session with a mail server that relays for us: it queues, and delivers by SMTP on port 25."""
    return lambda: smtplib.SMTP(ip, 25, local_hostname="control.lab", timeout=_TIMEOUT)


def _log_in(session: smtplib.SMTP, login: Login) -> smtplib.SMTP:
    try:
        session.login(*login)
    except BaseException:
        session.close()
        raise
    return session


@dataclass
class Sender:
    """`taken`: Message-IDs with a 250. `unknown`: those whose answer was cut off. `refused`: final answers.

    `later`: temporary answers and cut connections; `longest`: the seconds that one message took to be taken.
    """

    name: str
    connect: Connect
    sender: str
    recipient: str
    taken: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    longest: float = 0.0

    def __post_init__(self) -> None:
        # Encrypted once: PGPy is slow, and it is not for threads.
        self._mid = pgp.message_id()
        self._text = pgp.encrypted(self.sender, self.recipient, self._mid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let it bring its last message to an end."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._ended.is_set():
            number += 1
            began = monotonic()
            self._send(f"{number}.{self._mid}")
            self.longest = max(self.longest, monotonic() - began)
            self._ended.wait(_EACH)

    def _send(self, mid: str) -> None:
        """Until it is taken, or nobody can know."""
        text = self._text.replace(self._mid.encode(), mid.encode())
        while True:
            try:
                with _closing(self.connect()) as session:
                    place = self._submit(session, text)
            except smtplib.SMTPResponseException as error:
                place = self._answered(error.smtp_code, error.smtp_error)
            except (OSError, smtplib.SMTPException) as error:
                self.later.append(f"{type(error).__name__}: {error}")
                place = None
            if place is not None:
                place.append(mid)
                return
            sleep(_PAUSE)

    def _submit(self, session: smtplib.SMTP, text: bytes) -> list[str] | None:
        """One transaction; the list that the message belongs to now, or None if it is to be sent again."""
        for command in (f"MAIL FROM:<{self.sender}>", f"RCPT TO:<{self.recipient}>", "DATA"):
            code, said = session.docmd(command)
            if code >= 400:
                return self._answered(code, said)
        try:
            session.send(text + b".\r\n")
            code, said = session.getreply()
        except (OSError, smtplib.SMTPException):
            return self.unknown
        return self.taken if code == 250 else self._answered(code, said)

    def _answered(self, code: int, said: bytes | str) -> list[str] | None:
        text = f"{code} {said.decode(errors='replace') if isinstance(said, bytes) else said}"
        if code < 500:
            self.later.append(text)
            return None
        self.refused.append(text)
        # Its own place among the lists: nothing that is looked for in a mailbox.
        return []


@contextmanager
def _closing(session: smtplib.SMTP) -> Iterator[smtplib.SMTP]:
    try:
        session.ehlo_or_helo_if_needed()
        yield session
    finally:
        with contextlib.suppress(OSError):
            session.close()


@contextmanager
def flowing(senders: Sequence[Sender]) -> Iterator[None]:
    """All of them send for as long as the block runs."""
    for one in senders:
        one.start()
    try:
        yield
    finally:
        for one in senders:
            one.stop()
