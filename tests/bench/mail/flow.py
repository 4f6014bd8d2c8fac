"""A steady flow of mail from many users: so many messages a second, each submitted when it is due.

`python -m tests.bench.mail.flow HOST MESSAGE` reads logins (`[[address, password], …]`) and then orders from
its input, one line of JSON each, and answers with a line: to logins when all are logged in on port 465 (a
session each, kept), to an order `{"rate", "seconds", "domains"}` with, for each message, its recipient, when
the user began to send it, and when Postfix said that it is queued, in seconds since the epoch; null for what
was refused. The senders take turns, and so do the domains. No two messages have one recipient.
"""

from __future__ import annotations

import json
import secrets
import smtplib
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.chat.smtp import any_certificate

_LATE = 30.0  # seconds for an answer
_NAMES = (f"{secrets.token_hex(4)}.{number}" for number in count())


@dataclass
class UserSession:
    """A user's session."""

    host: str
    address: str
    password: str
    message: bytes
    sent: list[tuple[str, float, float | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._session = smtplib.SMTP_SSL(self.host, 465, timeout=_LATE, context=any_certificate())
        self._session.login(self.address, self.password)
        self.message = self.message.replace(b"SENDER@bench.lab", self.address.encode())

    def send(self, due: Sequence[tuple[float, str]]) -> None:
        """Send a message at each of these times (monotonic), to the recipient beside it."""
        for at, recipient in due:
            time.sleep(max(0.0, at - time.monotonic()))
            began = time.time()
            try:
                self._session.sendmail(self.address, [recipient], self.message)
                self.sent.append((recipient, began, time.time()))
            except smtplib.SMTPException:
                self.sent.append((recipient, began, None))

    def taken(self) -> list[tuple[str, float, float | None]]:
        sent, self.sent = self.sent, []
        return sent


def flow(
    senders: Sequence[UserSession], rate: float, seconds: float, domains: Sequence[str]
) -> list[tuple[str, float, float | None]]:
    """Run one."""
    begin = time.monotonic() + 0.2
    due: list[list[tuple[float, str]]] = [[] for _ in senders]
    for number in range(int(rate * seconds)):
        recipient = f"{next(_NAMES)}@{domains[number % len(domains)]}"
        due[number % len(senders)].append((begin + number / rate, recipient))
    threads = [
        threading.Thread(target=sender.send, args=(times,))
        for sender, times in zip(senders, due, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for sender in senders for one in sender.taken()]


def main() -> None:
    host, message = sys.argv[1], Path(sys.argv[2]).read_bytes()
    logins = json.loads(sys.stdin.readline())
    senders = [UserSession(host, address, password, message) for address, password in logins]
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(flow(senders, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
