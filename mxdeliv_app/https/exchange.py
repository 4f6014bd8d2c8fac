"""Waits on the event loop for the answer to a small POST on a kept connection, without a thread.

Handles only a complete answer with a known length. For any other, or if the connection ends, a thread
continues with the octets that arrived (`HttpsClient.answer`). `HttpsPool.sweep` enforces the time limit.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException

from mxdeliv_app.https.client import READ, BufferedAnswer, HttpsClient, response_from
from mxdeliv_app.https.event_loop import StallGuard

# A peer that dribbles must not keep the event loop busy.
MOST_PIECES = 8

_stalls = StallGuard()


@dataclass(frozen=True, slots=True)
class Answer:
    """A peer's answer. `body`: truncated at `wire.MAX_ANSWER_SIZE`. `seconds`: duration of the attempt.

    `cut`: why the body is incomplete, a slug of `NoHttpsError`, or None. The octets that arrived may suffice.
    """

    status: int
    content_type: str
    body: bytes
    seconds: float
    cut: str | None = None


class Exchange:
    """A POST that was sent over `socket`, the socket of `client`.

    `over` gets the client back together with the answer, and whether the client can be kept.
    """

    def __init__(
        self,
        client: HttpsClient,
        socket: ssl.SSLSocket,
        started: float,
        over: Callable[[HttpsClient, bool], None],
    ) -> None:
        self.client = client
        self._socket = socket
        self.answer: Answer | None = None
        self.came = b""
        self.started = started
        self._over = over
        self._keep = False
        self._pieces = 0
        self._done: asyncio.Future[None]

    async def wait(self) -> None:
        """Waits until there is an `answer`, or a thread has to continue."""
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        loop.add_reader(self._socket.fileno(), self._readable, loop)
        try:
            await self._done
        except BaseException:
            if self.answer is None:
                loop.remove_reader(self._socket.fileno())
                self._over(self.client, False)
            raise

    def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with _stalls.reading(self.client.guarded):
                # OpenSSL may hold more than it gives at once, of which the socket says nothing.
                while chunk := self._socket.recv(READ):
                    self.came += chunk
                    self._pieces += 1
                    if self._is_settled() or self._pieces == MOST_PIECES:
                        break
        except ssl.SSLWantReadError:
            return
        except OSError:
            pass  # the thread will meet it again
        # Before the connection is another's, who will wait for the same socket.
        loop.remove_reader(self._socket.fileno())
        if self.answer is not None:
            self.client.guarded.answered()
            self._over(self.client, self._keep)
        if not self._done.done():
            self._done.set_result(None)

    def _is_settled(self) -> bool:
        """Whether there is nothing more to wait for here."""
        if b"\r\n\r\n" not in self.came:
            return False
        octets = BufferedAnswer(self.came)
        response = response_from(octets)
        try:
            response.begin()
        except (HTTPException, OSError, ValueError):
            return True
        # Behind an interim answer http.client takes a head that is cut for a whole one.
        cut = not self.came[: octets.file.tell()].endswith(b"\r\n\r\n")
        announced, body = response.length, octets.file.read()
        if cut or announced is None or response.chunked:
            return True
        if len(body) < announced:
            return False
        # What nobody asked for must not be taken for the next answer.
        self._keep = len(body) == announced and response.status >= 200 and not response.will_close
        content_type = response.headers.get("Content-Type", "")
        seconds = time.monotonic() - self.started
        self.answer = Answer(response.status, content_type, body[:announced], seconds)
        return True
