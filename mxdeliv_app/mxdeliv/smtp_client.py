"""A minimal SMTP client for giving messages to the loopback ports of our Postfix.

Not `smtplib`, because a peer's message is streamed, already dot-stuffed, commands are pipelined (RFC 2920),
and connections are kept for the next message.
XCLIENT (https://www.postfix.org/XCLIENT_README.html) tells Postfix the peer's address; it resets the session,
so a connection can be used for messages of several peers, one after the other.
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

from chatmail_milter.verdict import Reply
from mxdeliv_app.mxdeliv import wire

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

CONNECT_TIMEOUT = 5.0  # seconds; it is this very machine
REPLY_TIMEOUT = 60.0  # seconds; the reply to RCPT waits for Dovecot's quota-status
END_OF_DATA_TIMEOUT = 180.0  # seconds; Postfix first queries DKIM keys and syncs the message to disk

# RCPT commands per batch. The replies must fit into the socket's buffers. After a client has left, Postfix
# still processes up to this many.
_PIPELINED = 100
# Size of the first batch. Smaller, because its replies may already decide.
_PIPELINED_FIRST = 16
_MAX_LINE = 4096
_MAX_REPLY_LINES = 128
_RECEIVE = 1 << 13

_REPLY_LINE = re.compile(rb"([2-5]\d\d)([ -]|\Z)(?:([245]\.\d{1,3}\.\d{1,3})(?: |\Z))?(.*)\Z", re.DOTALL)


class PostfixAwayError(Exception):
    """Postfix is unreachable, does not reply in time, or violates SMTP; nothing was accepted."""


class ClientLeftError(Exception):
    """The peer has closed its connection; Postfix has accepted nothing."""


class SmtpClient:
    """An SMTP connection. All methods raise `PostfixAwayError`, whose cause is the `OSError`, if any.

    `connecting`, `ending`: timeouts in seconds for the connection, and for the reply to the end of the data.
    """

    def __init__(
        self,
        endpoint: tuple[str, int],
        connecting: float = CONNECT_TIMEOUT,
        ending: float = END_OF_DATA_TIMEOUT,
    ) -> None:
        self._ending = ending
        try:
            self._socket = socket.create_connection(endpoint, connecting)
        except OSError as error:
            raise PostfixAwayError(f"connect: {error.strerror or error}") from error
        self._socket.settimeout(REPLY_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._extensions: frozenset[str] = frozenset()
        self._began = time.monotonic()
        self.peer: IPAddress | None = None  # the address that XCLIENT has set

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def age(self) -> float:
        """Seconds since the connection was opened."""
        return time.monotonic() - self._began

    @property
    def quiet(self) -> bool:
        """Whether Postfix has sent nothing unsolicited, such as a 421 or the end of the connection."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not self._received and not poll.poll(0)

    def close(self) -> None:
        """Closes the connection. A message without its end is then not accepted (RFC 5321, 4.1.1.10)."""
        self._socket.close()

    def greet(self, name: str) -> Reply:
        """Waits for Postfix's greeting, then says EHLO with `name`. Returns the reply."""
        greeting = self._read()
        if not greeting.positive:
            raise PostfixAwayError(f"greeting: {greeting.code}")
        return self._hello(name)

    def open(self, peer: IPAddress) -> Reply:
        """Sets the client address that Postfix sees to `peer`. Returns Postfix's reply."""
        if self.peer == peer:
            return Reply(250, "2.0.0", "Known")
        name = _literal(peer)
        if not self._extensions:
            self.greet(name)
        self.peer = None
        if "XCLIENT" not in self._extensions:
            # Without XCLIENT Postfix would treat all peers like this host.
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
        *,
        smtputf8: bool = False,
    ) -> tuple[Reply, list[Reply]]:
        """Sends MAIL FROM and RCPT TO. Returns the reply for the sender, and those for the recipients.

        Addresses are sent as they are, without line ends; the null sender is `""`. `size`: octets, if known
        (RFC 1870). `enough`: called with the replies for each batch of recipients (16 at first, then 100); if
        it returns True, no more are sent, and there are fewer replies than recipients. Its exceptions are
        passed on. `smtputf8`: an address is not ASCII (RFC 6531).
        """
        parameters = " BODY=8BITMIME" if "8BITMIME" in self._extensions else ""
        if size is not None and "SIZE" in self._extensions:
            parameters += f" SIZE={size}"
        if smtputf8:
            parameters += " SMTPUTF8"
        commands = [f"MAIL FROM:<{sender}>{parameters}", *(f"RCPT TO:<{one}>" for one in recipients)]
        replies: list[Reply] = []
        first, batch = (_PIPELINED_FIRST, _PIPELINED) if "PIPELINING" in self._extensions else (1, 1)
        some, rest = commands[:first], commands[first:]
        while True:
            self.write("".join(f"{command}\r\n" for command in some).encode())
            replies += [self._read() for _ in some]
            answers = replies[1:][-len(some) :]
            if not rest or not replies[0].positive or (answers and enough(answers)):
                break
            some, rest = rest[:batch], rest[batch:]
        return replies[0], replies[1:]

    def data(self) -> Reply:
        """Sends DATA. After a positive reply, `write` the message, then call `end`."""
        self.write(b"DATA\r\n")
        return self._read()

    def write(self, octets: bytes) -> None:
        """Sends octets unchanged."""
        try:
            self._socket.sendall(octets)
        except OSError as error:
            raise PostfixAwayError(f"write: {error.strerror or error}") from error

    def end(self, octets: bytes) -> Reply:
        """Sends the last octets and the final dot. Returns the reply, by which Postfix accepts it."""
        self.write(octets + b".\r\n")
        self._socket.settimeout(self._ending)
        reply = self._read()
        self._socket.settimeout(REPLY_TIMEOUT)
        return reply

    def quit(self) -> None:
        """Sends QUIT, without waiting for the reply, and ignores errors."""
        with contextlib.suppress(PostfixAwayError):
            self.write(b"QUIT\r\n")

    def _hello(self, name: str) -> Reply:
        self.write(f"EHLO {name}\r\n".encode("ascii"))
        lines = self._read_lines()
        words = (line[0][4:].partition(b" ")[0] for line in lines)
        self._extensions = frozenset(word.decode("ascii", "replace") for word in words)
        return _reply(lines)

    def _read(self) -> Reply:
        return _reply(self._read_lines())

    def _read_lines(self) -> list[re.Match[bytes]]:
        lines: list[re.Match[bytes]] = []
        while len(lines) < _MAX_REPLY_LINES:
            line = _REPLY_LINE.match(self._read_line())
            if not line:
                raise PostfixAwayError("the reply is not SMTP")
            lines.append(line)
            if line[2] != b"-":
                return lines
        raise PostfixAwayError("the reply has no end")

    def _read_line(self) -> bytes:
        # Not `makefile`, whose read-ahead buffer `quiet` could not see.
        while b"\n" not in self._received:
            try:
                more = self._socket.recv(_RECEIVE)
            except OSError as error:
                raise PostfixAwayError(f"read: {error.strerror or error}") from error
            if not more or len(self._received) > _MAX_LINE:
                raise PostfixAwayError("hung up" if not more else "the reply has no end")
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line.rstrip(b"\r")


def _literal(peer: IPAddress) -> str:
    """The address literal for EHLO (RFC 5321, 4.1.3), as HTTPS peers send no host name."""
    return f"[IPv6:{peer}]" if peer.version == 6 else f"[{peer}]"


def _reply(lines: Sequence[re.Match[bytes]]) -> Reply:
    words = b" ".join(line[4] for line in lines)
    status = next((line[3] for line in reversed(lines) if line[3]), b"")
    return Reply(int(lines[-1][1]), status.decode("ascii"), wire.one_line(words))
