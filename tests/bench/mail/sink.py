"""A peer that takes everything at once and keeps nothing: `/mxdeliv` and SMTP with STARTTLS, in one process.

As light as Python can be, so that it is the sender that is measured. It counts, and notes when the last came.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawValue
from pathlib import Path

from tests.lab.plan import Host
from tests.lab.sockets import bound
from tests.lab.wait import until

_ACCEPTED = b"250 2.0.0 OK\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_ACCEPTED),
    _ACCEPTED,
)
# To a POST without recipients: every chatmail server refuses it, and is known by that.
_REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
_GREETING = b"250-sink.lab\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 52428800\r\n"
_END = b"\r\n.\r\n"


class SharedCount(ctypes.Structure):
    """`Count`, in memory that two processes share."""

    _fields_ = (
        ("messages", ctypes.c_long),
        ("by_https", ctypes.c_long),
        ("connections", ctypes.c_long),
        ("last", ctypes.c_double),
        ("cpu", ctypes.c_double),
    )

    messages: int
    by_https: int
    connections: int
    last: float
    cpu: float


@dataclass(frozen=True)
class Count:
    """What the sink saw so far; `last`: when the last message came (monotonic), `cpu`: its own seconds."""

    messages: int
    by_https: int
    connections: int
    last: float
    cpu: float


class RunningSink:
    """The running sink, seen from here."""

    def __init__(self, seen: SharedCount) -> None:
        self._seen = seen

    def count(self) -> Count:
        seen = self._seen
        return Count(seen.messages, seen.by_https, seen.connections, seen.last, seen.cpu)

    def await_messages(self, number: int, deadline: float) -> Count:
        """What was seen when so many messages had come, since the sink was started."""
        until(
            lambda: self._seen.messages >= number,
            deadline,
            f"read the queue: the peer got {self._seen.messages} of {number} messages",
        )
        return self.count()


class SinkConnection(asyncio.Protocol):
    """One connection."""

    def __init__(self, seen: SharedCount, context: ssl.SSLContext) -> None:
        self._seen = seen
        self._context = context
        self._got = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        # asyncio does it by itself only where the listening socket says that it is TCP.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = transport
        self._seen.connections += 1

    def data_received(self, data: bytes) -> None:
        self._got += data
        answers = b""
        while (answer := self.step()) is not None:
            answers += answer
        if answers:
            self.transport.write(answers)

    def step(self) -> bytes | None:
        """Take one thing out of what was got, and answer it; None where there isn't a whole one yet."""
        raise NotImplementedError

    def taken(self) -> None:
        """A message has come."""
        self._seen.messages += 1
        self._seen.last = time.monotonic()
        self._seen.cpu = time.process_time()


class HttpServer(SinkConnection):
    """`POST /mxdeliv`; what else is said is not looked at."""

    def step(self) -> bytes | None:
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return None
        fields = bytes(self._got[:end]).lower()
        length = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self._got) < end + 4 + length:
            return None
        del self._got[: end + 4 + length]
        if b"\r\nx-mail-to:" not in fields:
            return _REFUSED
        self._seen.by_https += 1
        self.taken()
        return _ANSWER


class SmtpServer(SinkConnection):
    """SMTP, as far as smtp(8) speaks it."""

    def __init__(self, seen: SharedCount, context: ssl.SSLContext) -> None:
        super().__init__(seen, context)
        self._text = self._secure = self._starting = False
        self._task: asyncio.Future[None] | None = None  # asyncio itself would let go of it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"220 sink.lab ESMTP\r\n")

    def step(self) -> bytes | None:
        if self._starting:
            return None
        end = self._got.find(_END if self._text else b"\n")
        if end < 0:
            return None
        if self._text:
            del self._got[: end + len(_END)]
            self._text = False
            self.taken()
            return _ACCEPTED
        verb = bytes(self._got[:4]).upper()
        del self._got[: end + 1]
        return self._answer(verb)

    def _answer(self, verb: bytes) -> bytes:
        if verb == b"EHLO":
            return _GREETING + (b"" if self._secure else b"250-STARTTLS\r\n") + b"250 ENHANCEDSTATUSCODES\r\n"
        if verb == b"STAR":
            self._starting = True
            self._task = asyncio.ensure_future(self._start_tls())
            return b"220 2.0.0 Go ahead\r\n"
        if verb == b"DATA":
            self._text = True
            return b"354 go on\r\n"
        if verb == b"QUIT":
            asyncio.get_running_loop().call_soon(self.transport.close)
            return b"221 2.0.0 Bye\r\n"
        return _ACCEPTED

    async def _start_tls(self) -> None:
        loop = asyncio.get_running_loop()
        made = await loop.start_tls(self.transport, self, self._context, server_side=True)
        assert made is not None
        self.transport, self._secure, self._starting = made, True, False
        # What came right behind the handshake came before there was a way to answer it.
        self.data_received(b"")


@contextmanager
def running(host: Host, certificate: Path, key: Path) -> Iterator[RunningSink]:
    """The sink at a host's address, on ports 25 and 443."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = bound(host, 25), bound(host, 443)
    fork = multiprocessing.get_context("fork")
    seen = RawValue(SharedCount)
    process = fork.Process(target=_main, args=(*listening, context, seen), daemon=True)
    process.start()
    for one in listening:
        one.close()
    try:
        yield RunningSink(seen)
    finally:
        process.terminate()
        process.join()


def _main(smtp: socket.socket, https: socket.socket, context: ssl.SSLContext, seen: SharedCount) -> None:
    # As the parent may catch it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: SmtpServer(seen, context), sock=smtp, backlog=1024)
        await loop.create_server(lambda: HttpServer(seen, context), sock=https, backlog=1024, ssl=context)
        await asyncio.get_running_loop().create_future()

    asyncio.run(serve())
