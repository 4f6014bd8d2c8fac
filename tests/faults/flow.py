"""Users who submit: each has a connection of its own, sends one message after the other, and tries again.

As an app does: what was not taken is submitted again until it is. Only a message whose answer was cut off,
the text being sent, is not: whether it was taken nobody knows, and what is found of it later shows.
"""

from __future__ import annotations

import contextlib
import smtplib
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from time import monotonic

from tests.chat.deadline import until
from tests.chat.smtp import any_certificate
from tests.faults.mail import FaultMessage

# At most this share of the messages begins beyond what `Flow.reach` waits for, until the next call: a cause
# that takes seconds to begin still meets messages, however quick the relays are.
LEAD = 0.25
# A relay that is away for a moment is asked again soon; one that drops packets is given up by then.
PAUSE, TIMEOUT = 1.0, 10.0
# Half of the users come by 465, half by 587.
_BY_TLS, _BY_STARTTLS = 465, 587


class Fate(Enum):
    """What the sender knows."""

    TAKEN = "taken"
    CUT = "cut off"
    REFUSED = "refused"
    WAITING = "not sent"


class MessageFlow:
    """Messages on their way in; leaving the context waits for the users, at most until `seconds` are over.

    `logins`: password by address. `ips`: of the relays, by name.
    """

    def __init__(
        self,
        messages: Sequence[FaultMessage],
        logins: Mapping[str, str],
        ips: Mapping[str, str],
        seconds: float,
    ) -> None:
        self.fates: dict[str, Fate] = {one.mid: Fate.WAITING for one in messages}
        # The relay that each is submitted to.
        self.relays = {one.mid: one.relay for one in messages}
        self.refusals: list[str] = []
        # Beforehand: PGPy is slow, and it is not for threads.
        self._octets = {one.mid: one.octets() for one in messages}
        self._logins, self._ips, self._seconds = logins, ips, seconds
        self._end = 0.0
        self._stopped = threading.Event()
        # Users begin a message while fewer than `_limit` have begun.
        self._turn = threading.Condition()
        self._begun = self._limit = 0
        self._by_sender: dict[str, list[FaultMessage]] = defaultdict(list)
        for one in messages:
            self._by_sender[one.sender].append(one)

    def __enter__(self) -> MessageFlow:
        self._end = monotonic() + self._seconds
        self._pool = ThreadPoolExecutor(len(self._by_sender))
        self._users: list[Future[None]] = [
            self._pool.submit(self._user, number, sender) for number, sender in enumerate(self._by_sender)
        ]
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._stopped.set()
        self.go_on()
        self._pool.shutdown()
        if kind is None:
            for user in self._users:
                user.result()

    def waiting(self) -> list[str]:
        """The messages that are still the users' to send."""
        return [mid for mid, fate in list(self.fates.items()) if fate is Fate.WAITING]

    @property
    def settled(self) -> int:
        """How many are not."""
        return len(self.fates) - len(self.waiting())

    def reach(self, share: float) -> None:
        """Wait until this share of the messages is settled. `LEAD` more may begin until the next call."""
        self._allow(share + LEAD)
        wanted = share * len(self.fates)
        until(f"{share:.0%} are submitted", lambda: self.settled >= wanted, self._seconds, every=0.02)

    def go_on(self) -> None:
        """Let the users send all that is left."""
        self._allow(1.0)

    def _allow(self, share: float) -> None:
        with self._turn:
            self._limit = max(self._limit, round(share * len(self.fates)))
            self._turn.notify_all()

    def _begin_one(self) -> None:
        """Returns when the user may begin his next message, or may never."""
        with self._turn:
            self._turn.wait_for(
                lambda: self._begun < self._limit or self._stopped.is_set(), max(0, self._end - monotonic())
            )
            self._begun += 1

    def _user(self, number: int, sender: str) -> None:
        session: smtplib.SMTP | None = None
        port = (_BY_TLS, _BY_STARTTLS)[number % 2]
        waiting = list(self._by_sender[sender])
        begun = False
        while waiting and monotonic() < self._end and not self._stopped.is_set():
            if not begun:
                self._begin_one()
                begun = True
                continue
            message = waiting[0]
            fate = Fate.WAITING
            try:
                if session is None:
                    session = self._log_in(message, port)
                fate = self._submit(session, message)
            except (OSError, smtplib.SMTPException):
                _leave(session)
                session = None
            self.fates[message.mid] = fate
            if fate is Fate.WAITING:
                self._stopped.wait(PAUSE)
                continue
            waiting.pop(0)
            begun = False
            if fate is Fate.CUT:
                _leave(session)
                session = None
        _leave(session)

    def _log_in(self, message: FaultMessage, port: int) -> smtplib.SMTP:
        ip, context = self._ips[message.relay], any_certificate()
        made: Callable[[], smtplib.SMTP]
        if port == _BY_TLS:
            made = lambda: smtplib.SMTP_SSL(ip, port, timeout=TIMEOUT, context=context)  # noqa: E731
        else:
            made = lambda: smtplib.SMTP(ip, port, local_hostname="phone.invalid", timeout=TIMEOUT)  # noqa: E731
        session = made()
        try:
            if port == _BY_STARTTLS:
                session.starttls(context=context)
            session.login(message.sender, self._logins[message.sender])
        except BaseException:
            session.close()
            raise
        return session

    def _submit(self, session: smtplib.SMTP, message: FaultMessage) -> Fate:
        """One transaction. Raises where it is to be tried again on another connection."""
        for command in (f"MAIL FROM:<{message.sender}>", f"RCPT TO:<{message.recipient}>", "DATA"):
            code, text = session.docmd(command)
            if code >= 400:
                return self._said_no(session, code, text)
        try:
            session.send(self._octets[message.mid] + b".\r\n")
            code, text = session.getreply()
        except (OSError, smtplib.SMTPException):
            return Fate.CUT
        return Fate.TAKEN if code == 250 else self._said_no(session, code, text)

    def _said_no(self, session: smtplib.SMTP, code: int, text: bytes) -> Fate:
        if code >= 500:
            self.refusals.append(f"{code} {text.decode(errors='replace')}")
            session.rset()
            return Fate.REFUSED
        # As Delta Chat core does. Once a milter has gone, Postfix answers 451 to the rest of the session.
        raise smtplib.SMTPServerDisconnected(text)


def _leave(session: smtplib.SMTP | None) -> None:
    if session is not None:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            session.close()
