"""What other people do meanwhile, over a new connection each time: each probe is one of them.

Only `delivery` keeps its session: the recipient's app was there before the attack.
"""

from __future__ import annotations

import contextlib
import http.client
import imaplib
import json
import smtplib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tests.chat import pgp, signature
from tests.chat.imap import ImapMailbox, new_account
from tests.chat.person import fresh_address, fresh_password
from tests.chat.smtp import any_certificate
from tests.lab import Lab
from tests.lab.host import LabHost

# Seconds for a probe from its connection to its last answer. Each takes a fraction of one where little else
# runs.
DEADLINE = 10.0
# Between two probes of a kind, so that they themselves are no load.
PAUSE = 0.5
# In turn: one user may submit ten messages at once, and one a second.
USERS = 6
PEER = "peer.lab"
_SENDER = f"someone12345@{PEER}"
_PLACEHOLDER = "placeholder@client.invalid"


class ProbeFailedError(Exception):
    """A probe did not get what it came for."""


class People:
    """Users of the relay, who have accounts and one of whom has a session, and a peer that signs its mail."""

    def __init__(self, lab: Lab, host: LabHost) -> None:
        self.lab, self.host = lab, host
        self.reader = (fresh_address(host.domain, "rd"), fresh_password())
        self.users = [new_account(host, "us") for _ in range(USERS)]
        self.mailbox = ImapMailbox(host.ip, *self.reader)
        # One ciphertext for all: making one is slow.
        self._message = pgp.encrypted(_SENDER, self.reader[0], _PLACEHOLDER)
        self._turn = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        self.mailbox.__exit__(None, None, None)

    def user(self) -> tuple[int, tuple[str, str]]:
        """Whose turn it is."""
        with self._lock:
            self._turn += 1
            return self._turn, self.users[self._turn % USERS]

    def message(self, sender: str, mid: str) -> bytes:
        octets = self._message.replace(_PLACEHOLDER.encode(), mid.encode())
        return octets.replace(_SENDER.encode(), sender.encode())

    def signed(self) -> bytes:
        """A peer's message to the reader."""
        return signature.sign(self.message(_SENDER, pgp.message_id()), PEER, self.lab.paths)


def login(people: People) -> None:
    _, (address, password) = people.user()
    context = any_certificate()
    session = imaplib.IMAP4_SSL(people.host.ip, 993, ssl_context=context, timeout=DEADLINE)
    try:
        session.login(address, password)
        session.select("INBOX")
    finally:
        session.shutdown()


def submission(people: People) -> str:
    """By 465 and by 587 in turn; the Message-ID."""
    turn, (address, password) = people.user()
    mid, context = pgp.message_id(), any_certificate()
    session: smtplib.SMTP
    if turn % 2:
        session = smtplib.SMTP_SSL(people.host.ip, 465, timeout=DEADLINE, context=context)
    else:
        session = smtplib.SMTP(people.host.ip, 587, local_hostname="phone.invalid", timeout=DEADLINE)
    with contextlib.closing(session):
        if not turn % 2:
            session.starttls(context=context)
        session.login(address, password)
        session.sendmail(address, [people.reader[0]], people.message(address, mid))
    return mid


def delivery(people: People) -> None:
    """From one user to another, until it is in the session that the other has."""
    end = time.monotonic() + DEADLINE
    mid = submission(people)
    while people.mailbox.find(mid) is None:
        if time.monotonic() > end:
            raise ProbeFailedError("taken and not in the mailbox")
        time.sleep(0.1)


def peer_https(people: People) -> None:
    headers = {"X-Mail-From": _SENDER, "X-Mail-To": people.reader[0]}
    _post(people, "/mxdeliv", people.signed(), headers)


def peer_smtp(people: People) -> None:
    message = people.signed()
    with contextlib.closing(
        smtplib.SMTP(people.host.ip, 25, local_hostname="peer.lab", timeout=DEADLINE)
    ) as session:
        session.starttls(context=any_certificate())
        session.sendmail(_SENDER, [people.reader[0]], message)


def fresh(people: People) -> None:
    json.loads(_post(people, "/new", b"", {}))["password"]


def web_login(people: People) -> None:
    _, (address, password) = people.user()
    _ask(people, "GET", "/webimap/mailboxes", b"", {"X-Email": address, "X-Password": password})


def _post(people: People, path: str, body: bytes, headers: dict[str, str]) -> str:
    return _ask(people, "POST", path, body, headers)


def _ask(people: People, method: str, path: str, body: bytes, headers: dict[str, str]) -> str:
    with contextlib.closing(
        http.client.HTTPSConnection(people.host.ip, context=any_certificate(), timeout=DEADLINE)
    ) as session:
        session.request(method, path, body, {"Host": people.host.domain, **headers})
        answer = session.getresponse()
        text = answer.read().decode(errors="replace")
    if answer.status != 200:
        raise ProbeFailedError(f"{answer.status} {text.strip()}")
    return text


PROBES: Mapping[str, Callable[[People], object]] = MappingProxyType(
    {
        "login": login,
        "submission": submission,
        "delivery": delivery,
        "peer 443": peer_https,
        "peer 25": peer_smtp,
        "/new": fresh,
        "WebIMAP": web_login,
    }
)


@dataclass(frozen=True)
class Result:
    """`failure`: in words, None if it went well. `began`: monotonic."""

    began: float
    seconds: float
    failure: str | None


def once(name: str, people: People) -> Result:
    """Make one probe. It never raises what a relay in trouble causes."""
    began = time.monotonic()
    failure = None
    try:
        PROBES[name](people)
    except (OSError, EOFError, ProbeFailedError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
        failure = f"{type(error).__name__}: {error}"
    except (http.client.HTTPException, ValueError, KeyError) as error:
        failure = f"an answer that is none: {type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    if failure is None and seconds > DEADLINE:
        failure = f"answered after {seconds:.1f} s"
    return Result(began, seconds, failure)


@dataclass
class Rounds:
    """Every probe again and again, each in a thread of its own, while the block runs."""

    people: People
    results: dict[str, list[Result]] = field(default_factory=lambda: {name: [] for name in PROBES})

    def __enter__(self) -> Rounds:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._again, args=(name,)) for name in PROBES]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _again(self, name: str) -> None:
        while not self._stop.is_set():
            self.results[name].append(once(name, self.people))
            self._stop.wait(PAUSE)

    def fewest(self) -> int:
        """How many of each kind there are at least."""
        return min(map(len, self.results.values()))
