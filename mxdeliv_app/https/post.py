"""Makes one POST to one peer, over kept connections to checked addresses.

Names are resolved once, in `dial`, and no redirect is followed, so each connection goes to an address that
was checked. A connection belongs to one target, and to one thread at a time. `peer_answer` interprets the
answers.

A POST is repeated in one case: a kept connection ended before the first octet of an answer (after TLS).
Nearly always the peer had closed it before it saw the POST (RFC 9112, 9.3.1). The POST is repeated once, over
a new connection: a peer that crashes at a message must not get it over every connection. From the first octet
on, even of an interim answer, the peer may have the message. Then, as after any other failure, the next
target, SMTP or Postfix's queue continues.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse

from mxdeliv_app.https.client import ONE_RECORD, HttpsClient
from mxdeliv_app.https.connection import Connection, Dial, Target, Tls
from mxdeliv_app.https.event_loop import may_wait
from mxdeliv_app.https.exchange import Answer, Exchange
from mxdeliv_app.https.resolver import NameTroubleError
from mxdeliv_app.https.spooled import Octets
from mxdeliv_app.mxdeliv import wire

KEEP_IDLE = 30.0  # seconds; under the 65 to 75 that web servers keep a connection, so that we close first
# Octets per second, 1 Mbit/s: the slowest peer that can receive the largest message.
SLOWEST = 1 << 17
# Octets that the kernels of both hosts may still buffer when all is sent (Linux: tcp_wmem, tcp_rmem).
BUFFERED = 1 << 23

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts of deliveries, which grow with the message.

    `least`: seconds for all attempts for an empty message. `largest`: octets of the largest message.
    """

    least: float
    largest: int

    def allowance(self, size: int) -> float:
        """Additional seconds for a message of `size` octets."""
        return min(size, self.largest) / SLOWEST

    def silence(self, size: int) -> float:
        """Timeout in seconds for the answer, after a message of `size` octets was sent."""
        return self.least + self.allowance(min(size, BUFFERED))

    def whole(self, size: int) -> float:
        """Timeout in seconds for all attempts for a message of `size` octets."""
        return self.least + self.allowance(size)

    @property
    def longest(self) -> float:
        """Timeout in seconds for the largest message; Postfix waits longer (master.cf, mxdeliv)."""
        return self.whole(self.largest)


class NoHttpsError(Exception):
    """The attempt failed before an answer was read; `reason` is a short slug from a closed list."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HttpsPool:
    """The client. Thread-safe. Call `sweep` about twice a second.

    An attempt ends if the peer receives nothing, or sends nothing, for longer than `timeouts` allows.
    """

    def __init__(self, dial: Dial, timeouts: Timeouts, user_agent: str) -> None:
        self._dial = dial
        self._timeouts = timeouts
        self._user_agent = user_agent
        self._tls = Tls()
        self._lock = threading.Lock()
        self._idle: dict[Target, list[HttpsClient]] = {}
        self._busy: set[HttpsClient] = set()

    def begin(
        self, target: Target, sender: str, recipients: Sequence[str], message: Octets, deadline: float
    ) -> Exchange | None:
        """Begins a `post` on the event loop, over an open connection.

        None if no connection is open, or the message is not small. Wait for the result, then give it to
        `post`.
        """
        started = time.monotonic()
        if not isinstance(message, bytes) or len(message) > ONE_RECORD:
            return None
        with self._lock:
            waiting = self._idle.get(target)
            if not waiting:
                return None
            client = waiting.pop()
            client.guarded.begin(deadline)
            self._busy.add(client)
        socket = client.post_now(self._fields(sender, recipients), message)
        if socket is None:
            self._give_back(client, False)
            return None
        return Exchange(client, socket, started, self._give_back)

    def post(
        self,
        target: Target,
        sender: str,
        recipients: Sequence[str],
        message: Octets,
        deadline: float,
        begun: Exchange | None = None,
        queue_id: str = "-",
    ) -> Answer:
        """Makes or continues a POST of `message` for canonical `recipients`, until `deadline` (monotonic).

        `queue_id` is for the log.
        Raises `NoHttpsError`, or `ForbiddenAddressError` if all addresses of `target` are forbidden.
        """
        if begun is not None and begun.answer is not None:
            return begun.answer
        may_wait()
        started = time.monotonic() if begun is None else begun.started
        fields = self._fields(sender, recipients)
        for kept in (True, False):
            going_on = begun if kept else None
            client = self._take(target, deadline, kept) if going_on is None else going_on.client
            try:
                return self._attempt(client, fields, message, started, going_on)
            except NoHttpsError as error:
                again = error.reason == "network" and not client.guarded.fresh and not client.answer_begun
                if not again or time.monotonic() >= deadline:
                    raise
                # If the peer had all of the message by then, it gets it twice, as SMTP would have it.
                log.info("event=repeated host=%s reason=%s queue=%s", target.host, error.reason, queue_id)
        raise AssertionError("a connection that is not kept is a fresh one")

    def _fields(self, sender: str, recipients: Sequence[str]) -> Sequence[tuple[str, str]]:
        return (
            wire.mail_from_header(sender),
            *wire.mail_to_headers(recipients),
            ("Accept", wire.ACCEPT),
            ("Accept-Encoding", "identity"),
            ("User-Agent", self._user_agent),
        )

    def _attempt(
        self,
        client: HttpsClient,
        fields: Sequence[tuple[str, str]],
        message: Octets,
        started: float,
        begun: Exchange | None,
    ) -> Answer:
        keep = False
        response: HTTPResponse | None = None
        try:
            silence = self._timeouts.silence(len(message))
            if begun is None:
                # The first is for each slice that is sent: connecting is `dial`'s.
                response = client.post(fields, message, self._timeouts.least, silence)
            else:
                response = client.answer(silence, begun.came)
            body, cut = client.read(response)
            # After an interim answer another one may still come, to be taken for that of the next message.
            whole = cut is None and len(body) < wire.MAX_ANSWER_SIZE and response.status >= 200
            keep = whole and not response.will_close
            return Answer(
                response.status,
                response.headers.get("Content-Type", ""),
                body[: wire.MAX_ANSWER_SIZE],
                time.monotonic() - started,
                cut,
            )
        except NameTroubleError:
            raise NoHttpsError("dns") from None
        except (HTTPException, OSError, ValueError) as error:
            raise NoHttpsError(client.guarded.reason(error)) from error
        finally:
            if response is not None:
                response.close()
            self._give_back(client, keep)

    def _take(self, target: Target, deadline: float, kept: bool) -> HttpsClient:
        with self._lock:
            waiting = self._idle.get(target)
            # The last one used: the others get old and are closed.
            client = (
                waiting.pop() if waiting and kept else HttpsClient(Connection(target, self._dial, self._tls))
            )
            client.guarded.begin(deadline)
            self._busy.add(client)
            return client

    def _give_back(self, client: HttpsClient, keep: bool) -> None:
        with self._lock:
            self._busy.discard(client)
            if keep:
                client.idle_since = time.monotonic()
                self._idle.setdefault(client.guarded.target, []).append(client)
        if not keep:
            client.close()

    def sweep(self) -> None:
        """Cuts attempts that exceed their time, and closes connections that were not used for long."""
        now = time.monotonic()
        old: list[HttpsClient] = []
        with self._lock:
            for client in self._busy:
                if now > client.guarded.deadline:
                    client.guarded.cut()
            for target, waiting in list(self._idle.items()):
                old += [one for one in waiting if now - one.idle_since > KEEP_IDLE]
                waiting[:] = [one for one in waiting if now - one.idle_since <= KEEP_IDLE]
                if not waiting:
                    del self._idle[target]
        for client in old:
            client.close()

    def close(self) -> None:
        """Cuts all attempts, and closes all connections."""
        with self._lock:
            for client in self._busy:
                client.guarded.cut()
            idle = [one for waiting in self._idle.values() for one in waiting]
            self._idle.clear()
        for client in idle:
            client.close()
