"""Postfix's side of the milter protocol (version 6), octet by octet, so that tests can also do it wrong.

A packet is a length of four octets, a command of one, and data. Which commands get a reply is negotiated.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

# Commands that can be negotiated to have no reply, with their bits (SMFIP_NR_*).
NO_REPLY = {
    b"L": 0x80,
    b"C": 0x1000,
    b"H": 0x2000,
    b"M": 0x4000,
    b"R": 0x8000,
    b"T": 0x10000,
    b"U": 0x20000,
    b"N": 0x40000,
    b"B": 0x80000,
}
# Values keep the blanks after the colon (SMFIP_HDR_LEADSPC).
LEADING_BLANKS = 0x100000
# All actions and all protocol steps, as Postfix 3.7 offers them.
ALL_ACTIONS, ALL_STEPS = 0x1FF, 0x1FFFFF
BODY_CHUNK = 65535
# SMFIP_RCPT_REJ: the milter also wants recipients that were refused.
RCPT_REJ = 0x800

Header = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class MilterAnswer:
    """What the milter said: `reply` is the SMTP reply, or the name of the decision; `at`, to what."""

    reply: str
    changed: tuple[str, ...] = ()
    at: str = "end"


@dataclass
class MilterClient:
    """A connection to the milter at `path`, negotiated."""

    path: str
    actions: int = ALL_ACTIONS
    steps: int = ALL_STEPS
    agreed_actions: int = field(init=False, default=0)
    agreed_steps: int = field(init=False, default=0)
    macros_wanted: dict[int, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(self.path)
        self.send(b"O", struct.pack(">III", 6, self.actions, self.steps))
        command, data = self.receive()
        assert command == b"O"
        _version, self.agreed_actions, self.agreed_steps = struct.unpack_from(">III", data)
        at = 12
        while at < len(data):
            (stage,) = struct.unpack_from(">I", data, at)
            end = data.index(b"\0", at + 4)
            self.macros_wanted[stage] = data[at + 4 : end].decode()
            at = end + 1

    def __enter__(self) -> MilterClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, command: bytes, data: bytes = b"") -> None:
        self.socket.sendall(struct.pack(">I", len(data) + 1) + command + data)

    def receive(self) -> tuple[bytes, bytes]:
        (size,) = struct.unpack(">I", self._exactly(4))
        packet = self._exactly(size)
        return packet[:1], packet[1:]

    def _exactly(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = self.socket.recv(size - len(got))
            if not piece:
                raise ConnectionError("the milter closed the connection")
            got += piece
        return got

    def macros(self, command: bytes, **values: str) -> None:
        """Macros for the stage of `command`; a name longer than a letter goes in braces."""
        pairs = ((name if len(name) == 1 else f"{{{name}}}", value) for name, value in values.items())
        self.send(b"D", command + b"".join(f"{name}\0{value}\0".encode() for name, value in pairs))

    def say(self, command: bytes, data: bytes = b"") -> str:
        """Sends a command and returns the decision, `continue` if none is waited for."""
        self.send(command, data)
        if self.agreed_steps & NO_REPLY.get(command, 0):
            return "continue"
        return _decision(*self.receive())

    def connect(self, road: str, peer: str = "192.0.2.7") -> str:
        self.macros(b"C", daemon_name=road)
        family = b"6" if ":" in peer else b"4"
        return self.say(b"C", b"client.example\0" + family + struct.pack(">H", 4711) + peer.encode() + b"\0")

    def envelope(
        self, sender: str, recipients: Iterable[str], login: str = "", resolved: str | None = None
    ) -> list[str]:
        """The answers to the recipients. The login, and what Postfix made of the sender, if asked for."""
        told = {"auth_authen": login, "mail_addr": sender if resolved is None else resolved}
        wanted = self.macros_wanted.get(2, "")
        self.macros(b"M", **{name: text for name, text in told.items() if text and name in wanted})
        assert self.say(b"M", f"<{sender}>\0".encode()) == "continue"
        return [self.recipient(one) for one in recipients]

    def recipient(self, recipient: str, resolved: str | None = None) -> str:
        """The answer to a recipient that Postfix takes, and makes `resolved` of."""
        if self.agreed_steps & RCPT_REJ:
            address = recipient if resolved is None else resolved
            self.macros(b"R", rcpt_mailer="virtual", rcpt_host="b.example", rcpt_addr=address)
        return self.say(b"R", f"<{recipient}>\0".encode())

    def refused(self, recipient: str, status: str, text: str) -> None:
        """A recipient that Postfix has refused with these words; it tells a milter that asked for those."""
        assert self.agreed_steps & RCPT_REJ
        self.macros(b"R", rcpt_mailer="error", rcpt_host=status, rcpt_addr=text)
        assert self.say(b"R", f"<{recipient}>\0".encode()) == "continue"

    def bounced_later(self, recipient: str) -> str:
        """The answer to a recipient that Postfix takes although its transport is `error`."""
        self.macros(b"R", rcpt_mailer="error", rcpt_host="5.1.3 Bad syntax", rcpt_addr=recipient)
        return self.say(b"R", f"<{recipient}>\0".encode())

    def header(self, fields: Header) -> None:
        for name, value in fields:
            assert self.say(b"L", name + b"\0" + value + b"\0") == "continue"
        assert self.say(b"N") == "continue"

    def body(self, body: bytes, chunk: int = BODY_CHUNK) -> None:
        for at in range(0, len(body), chunk):
            assert self.say(b"B", body[at : at + chunk]) == "continue"

    def end(self, queue_id: str = "4Xb2") -> MilterAnswer:
        """The end of the message: changes, then the decision."""
        self.macros(b"E", i=queue_id)
        self.send(b"E")
        changed: list[str] = []
        while True:
            command, data = self.receive()
            if command == b"m":
                (index,) = struct.unpack_from(">I", data)
                name, value, _ = data[4:].decode().split("\0")
                changed.append(f"{name}[{index}]={self._bare(value)}")
            elif command == b"h":
                name, value = data.decode().rstrip("\0").split("\0")
                changed.append(f"+{name}: {self._bare(value)}")
            elif command == b"e":
                changed.append("from=" + data.rstrip(b"\0").decode())
            else:
                return MilterAnswer(_decision(command, data), tuple(changed))

    def _bare(self, value: str) -> str:
        """A value that the milter writes, without the blank that has to stand after the colon."""
        if not value or not self.agreed_steps & LEADING_BLANKS:
            return value
        assert value[0] == " "
        return value[1:]

    def message(
        self,
        sender: str,
        recipients: Iterable[str],
        message: bytes,
        chunk: int = BODY_CHUNK,
        login: str = "",
    ) -> MilterAnswer:
        """A whole transaction; one whose recipients are all refused ends there, as Postfix ends it."""
        header, _, body = message.partition(b"\r\n\r\n")
        answers = self.envelope(sender, recipients, login)
        if "continue" not in answers:
            self.send(b"A")
            return MilterAnswer(answers[0], at="recipient")
        self.header(fields(header, as_they_are=bool(self.agreed_steps & LEADING_BLANKS)))
        self.body(body, chunk)
        return self.end()


def fields(header: bytes, *, as_they_are: bool = False) -> list[tuple[bytes, bytes]]:
    """A header as Postfix hands it on: in fields, folded, with LF; without the first space by default."""
    found: list[tuple[bytes, bytes]] = []
    for line in header.replace(b"\r\n", b"\n").split(b"\n"):
        if line[:1] in (b" ", b"\t"):
            found[-1] = (found[-1][0], found[-1][1] + b"\n" + line)
        else:
            name, _, value = line.partition(b":")
            found.append((name, value if as_they_are else value.removeprefix(b" ")))
    return found


def wait_for(path: str, deadline: float = 60.0) -> None:
    """Returns when the milter at `path` negotiates."""
    end = time.monotonic() + deadline
    while True:
        try:
            with MilterClient(path):
                return
        except (OSError, ConnectionError):
            if time.monotonic() > end:
                raise


_DECISIONS = {
    b"c": "continue",
    b"a": "accept",
    b"t": "tempfail",
    b"r": "reject",
    b"d": "discard",
    b"s": "skip",
}


def _decision(command: bytes, data: bytes) -> str:
    if command == b"y":
        # As Postfix does: %% is one %.
        return data.rstrip(b"\0").decode().replace("%%", "%")
    return _DECISIONS[command]
