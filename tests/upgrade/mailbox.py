"""Mailboxes by UID, as apps know them: what is there, and a client that idles and fetches what is new."""

from __future__ import annotations

import contextlib
import hashlib
import imaplib
import re
import socket
import threading
from dataclasses import dataclass, field

from tests.chat.smtp import any_certificate

Login = tuple[str, str]

# The server speaks in IDLE each two minutes at least.
_TIMEOUT = 600.0
_PAUSE = 1.0
_MESSAGE_ID = re.compile(rb"(?im)^message-id:\s*<([^>]*)>")
_UID = re.compile(rb"\bUID (\d+)")
_FLAGS = re.compile(rb"\bFLAGS \(([^)]*)\)")
# RFC 5530, 3: the client shall try again later.
_LATER = "[UNAVAILABLE]"


@dataclass(frozen=True)
class KeptMessage:
    """One message: its Message-ID, its flags but `\\Recent`, and a hash of its octets."""

    mid: str
    flags: frozenset[str]
    digest: str


@dataclass(frozen=True)
class ImapFolder:
    """UIDVALIDITY, and the messages by UID."""

    validity: int
    messages: dict[int, KeptMessage]

    @property
    def mids(self) -> list[str]:
        return [one.mid for one in self.messages.values()]


def open_session(ip: str, login: Login) -> imaplib.IMAP4_SSL:
    """A session that has logged in."""
    session = imaplib.IMAP4_SSL(ip, 993, ssl_context=any_certificate(), timeout=_TIMEOUT)
    try:
        session.login(*login)
    except BaseException:
        session.shutdown()
        raise
    return session


def look(ip: str, login: Login, folder: str = "INBOX") -> ImapFolder:
    """All of a folder."""
    session = open_session(ip, login)
    try:
        return fetch(session, folder, 1)
    finally:
        session.shutdown()


def fetch(session: imaplib.IMAP4, folder: str, first: int) -> ImapFolder:
    """Those of a folder with UIDs from `first` on."""
    session.select(folder, readonly=True)
    _, (validity,) = session.response("UIDVALIDITY")
    assert isinstance(validity, bytes)
    _, data = session.uid("FETCH", f"{first}:*", "(UID FLAGS BODY.PEEK[])")
    found = {}
    for one in data:
        if isinstance(one, tuple):
            head, octets = one
            uid, flags, mid = _UID.search(head), _FLAGS.search(head), _MESSAGE_ID.search(octets)
            assert uid, head
            assert flags, head
            assert mid, octets
            names = frozenset(flags[1].decode().split()) - {r"\Recent"}
            found[int(uid[1])] = KeptMessage(mid[1].decode(), names, hashlib.sha256(octets).hexdigest())
    # `N:*` is the last message, too, where its UID is below N (RFC 3501, 6.4.8).
    return ImapFolder(int(validity), {uid: one for uid, one in found.items() if uid >= first})


@dataclass
class Watcher:
    """An app on a thread of its own: it idles, fetches what is new, and connects again when it was cut off.

    `seen`: the Message-IDs in the order in which they were fetched. `refusals`: answers to its logins and
    commands that were not "later". `cuts`: how often it had to connect again.
    """

    ip: str
    login: Login
    seen: list[str] = field(default_factory=list)
    validities: set[int] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    cuts: int = 0

    def __post_init__(self) -> None:
        self._next = 1
        self._ended = threading.Event()
        self._session: imaplib.IMAP4_SSL | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it, whatever it waits for."""
        self._ended.set()
        while self._thread.is_alive():
            # The session of this moment: it may just be connecting again.
            if session := self._session:
                with contextlib.suppress(OSError):
                    session.sock.shutdown(socket.SHUT_RDWR)
            self._thread.join(_PAUSE)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._session = open_session(self.ip, self.login)
                try:
                    self._follow(self._session)
                finally:
                    self._session.shutdown()
            except (imaplib.IMAP4.abort, OSError):
                pass
            except imaplib.IMAP4.error as error:
                said = str(error.args[0])
                (self.later if _LATER in said else self.refusals).append(said)
            self.cuts += 1
            self._ended.wait(_PAUSE)

    def _follow(self, session: imaplib.IMAP4) -> None:
        """Fetch and idle by turns until the connection is cut, which raises."""
        while True:
            new = fetch(session, "INBOX", self._next)
            self.validities.add(new.validity)
            for uid in sorted(new.messages):
                self.seen.append(new.messages[uid].mid)
                self._next = uid + 1
            _, told = session.response("EXISTS")
            if len(told) > 1:
                # More came during the fetch, of which IDLE says nothing.
                continue
            session.send(b"i1 IDLE\r\n")
            if not any(b"EXISTS" in line for line in _read_to(session, b"+")):
                _read_to(session, b"EXISTS")
            session.send(b"DONE\r\n")
            _read_to(session, b"i1 ")


def _read_to(session: imaplib.IMAP4, word: bytes) -> list[bytes]:
    """The lines to the first that has `word` in it."""
    lines: list[bytes] = []
    while not lines or word not in lines[-1]:
        lines.append(session.readline())
        if not lines[-1] or lines[-1].startswith(b"* BYE"):
            raise session.abort("the server hung up")
    return lines
