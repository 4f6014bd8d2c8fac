"""An SMTP conversation with a loopback port of our own Postfix: just the verbs that injection needs.

Not `smtplib`: the message is written as it arrives, already encoded (`lines`), and commands are pipelined
(RFC 2920). XCLIENT (https://www.postfix.org/XCLIENT_README.html) makes Postfix see the peer, not us; it takes
the session back to its greeting, so one connection can carry messages of several peers, one after the other.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from chatmail_milter.reply import Reply
from mxdeliv_app.mxdeliv import wire

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

CONNECT_TIMEOUT = 5.0  # seconds; it is this very machine
REPLY_TIMEOUT = 60.0  # a recipient's answer waits for Dovecot's quota-status
END_OF_DATA_TIMEOUT = 180.0  # DKIM keys are looked up and the message is synced to disk before it comes

# Postfix reads on while it answers. Few enough commands that the answers fit the socket's buffers. Postfix
# carries out what it has read although nobody waits for the answers: so many recipients after a client left.
_PIPELINED = 100
# Fewer at first: the answers to them may already be enough.
_PIPELINED_FIRST = 16
_MAX_LINE = 4096
_MAX_REPLY_LINES = 128
_RECEIVE = 1 << 16

_REPLY_LINE = re.compile(rb"([2-5]\d\d)([ -]|\Z)(?:([245]\.\d{1,3}\.\d{1,3})(?: |\Z))?(.*)\Z", re.DOTALL)


class PostfixAwayError(Exception):
    """Postfix can't be reached, doesn't answer in time, or talks nonsense; nothing was accepted."""


class ClientLeftError(Exception):
    """The client whose message this is has hung up; Postfix has accepted nothing."""


class Conversation:
    """A connection, from its greeting on. Every method raises `PostfixAwayError` when Postfix is away."""

    def __init__(self, endpoint: tuple[str, int]) -> None:
        try:
            self._socket = socket.create_connection(endpoint, CONNECT_TIMEOUT)
        except OSError as error:
            raise PostfixAwayError(f"connect: {error.strerror or error}") from None
        self._socket.settimeout(REPLY_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._extensions: frozenset[str] = frozenset()
        self._began = time.monotonic()
        self.peer: IPAddress | None = None  # who talks, as Postfix knows it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def age(self) -> float:
        """Seconds since it was begun."""
        return time.monotonic() - self._began

    @property
    def quiet(self) -> bool:
        """Whether Postfix has said nothing that nobody asked for: a 421, or the end of the connection."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not self._received and not poll.poll(0)

    def close(self) -> None:
        """Hang up. A message whose end was not sent is thus never accepted (RFC 5321, 4.1.1.10)."""
        self._socket.close()

    def open(self, peer: IPAddress) -> Reply:
        """Introduce `peer` as who it is that talks from now on. Positive, or the refusal."""
        if self.peer == peer:
            return Reply(250, "2.0.0", "Known")
        name = _literal(peer)
        if not self._extensions:
            greeting = self._read()
            if not greeting.positive:
                raise PostfixAwayError(f"greeting: {greeting.code}")
            self._hello(name)
        self.peer = None
        if "XCLIENT" not in self._extensions:
            # Never go on: Postfix would trust the whole world as it trusts this machine.
            raise PostfixAwayError("the port does not offer XCLIENT")
        attribute = f"IPV6:{peer}" if peer.version == 6 else str(peer)
        self.write(f"XCLIENT ADDR={attribute} NAME=[UNAVAILABLE] PROTO=ESMTP\r\n".encode("ascii"))
        reply = self._read()
        if reply.positive:
            reply = self._hello(name)
        if reply.positive:
            self.peer = peer
        return reply

    def envelope(
        self,
        sender: str,
        size: int | None,
        recipients: Sequence[str],
        enough: Callable[[Sequence[Reply]], bool] = lambda _: False,
    ) -> tuple[Reply, list[Reply]]:
        """MAIL FROM and RCPT TO: the answers to the sender and, if that is taken, to each recipient in order.

        Addresses are canonical, the null sender is `""`; `size` in octets, where it is known (RFC 1870).
        `enough` is given the answers to the recipients of each batch of commands, 16 at first and then 100:
        where it is true no more are named, and there are fewer answers than recipients. What it raises, this
        raises.
        """
        parameters = " BODY=8BITMIME" if "8BITMIME" in self._extensions else ""
        if size is not None and "SIZE" in self._extensions:
            parameters += f" SIZE={size}"
        commands = [f"MAIL FROM:<{sender}>{parameters}", *(f"RCPT TO:<{one}>" for one in recipients)]
        replies: list[Reply] = []
        first, batch = (_PIPELINED_FIRST, _PIPELINED) if "PIPELINING" in self._extensions else (1, 1)
        some, rest = commands[:first], commands[first:]
        while True:
            self.write("".join(f"{command}\r\n" for command in some).encode("ascii"))
            replies += [self._read() for _ in some]
            answers = replies[1:][-len(some) :]
            if not rest or not replies[0].positive or (answers and enough(answers)):
                break
            some, rest = rest[:batch], rest[batch:]
        return replies[0], replies[1:]

    def data(self) -> Reply:
        """DATA; positive means: `write` the message, then `end`."""
        self.write(b"DATA\r\n")
        return self._read()

    def write(self, octets: bytes) -> None:
        """Send octets as they are."""
        try:
            self._socket.sendall(octets)
        except OSError as error:
            raise PostfixAwayError(f"write: {error.strerror or error}") from None

    def end(self, octets: bytes) -> Reply:
        """Write the last octets and the final dot, and hear the verdict: until then it is nobody's."""
        self.write(octets + b".\r\n")
        self._socket.settimeout(END_OF_DATA_TIMEOUT)
        reply = self._read()
        self._socket.settimeout(REPLY_TIMEOUT)
        return reply

    def quit(self) -> None:
        """Say goodbye, without waiting to hear it; if nobody listens any more, that is as good."""
        with contextlib.suppress(PostfixAwayError):
            self.write(b"QUIT\r\n")

    def _hello(self, name: str) -> Reply:
        self.write(f"EHLO {name}\r\n".encode("ascii"))
        lines = self._read_lines()
        self._extensions = frozenset(line[4:].split(b" ")[0].decode("ascii", "replace") for line in lines)
        return _reply(lines)

    def _read(self) -> Reply:
        return _reply(self._read_lines())

    def _read_lines(self) -> list[bytes]:
        lines: list[bytes] = []
        while len(lines) < _MAX_REPLY_LINES:
            line = self._read_line()
            if not _REPLY_LINE.match(line):
                raise PostfixAwayError("the reply is not SMTP")
            lines.append(line)
            if line[3:4] != b"-":
                return lines
        raise PostfixAwayError("the reply has no end")

    def _read_line(self) -> bytes:
        # Not `makefile`: it keeps what it has read ahead to itself, and `quiet` has to know.
        while b"\n" not in self._received:
            try:
                more = self._socket.recv(_RECEIVE)
            except OSError as error:
                raise PostfixAwayError(f"read: {error.strerror or error}") from None
            if not more or len(self._received) > _MAX_LINE:
                raise PostfixAwayError("hung up" if not more else "the reply has no end")
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line.rstrip(b"\r")


def _literal(peer: IPAddress) -> str:
    """What a client without a name says in EHLO (RFC 5321, 4.1.3). HTTPS peers tell us none."""
    return f"[IPv6:{peer}]" if peer.version == 6 else f"[{peer}]"


def _reply(lines: Sequence[bytes]) -> Reply:
    # The enhanced code is made from the code where there is none.
    matches = [match for line in lines if (match := _REPLY_LINE.match(line))]
    code, _, status, _ = matches[-1].groups()
    words = b" ".join(match[4] for match in matches)
    enhanced = status.decode("ascii") if status else f"{code[:1].decode()}.0.0"
    return Reply(int(code), enhanced, wire.one_line(words))
