"""One POST to one peer: requests over connections that are kept open and guarded.

The address connected to is the one that the guard has judged: names are resolved once, in `dial`, and no
redirect is followed. A connection belongs to one target and one thread at a time. Says what a peer
answered; what that means is `peer_answer`'s.

What is sent twice: a POST on a kept connection that the peer closed before a word of its answer came. Nearly
always it had closed before it saw the POST (RFC 9112, 9.3.1). It is sent once more, over a new connection,
and only once: a peer that dies of a message must not get it as often as there are connections. All else that
was cut is left to the other road, and Postfix.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import requests
import urllib3.exceptions
from urllib3 import HTTPHeaderDict

from mxdeliv_app import wire
from mxdeliv_app.relay.connection import Connection
from mxdeliv_app.relay.dial import Dial
from mxdeliv_app.relay.names import NameTroubleError
from mxdeliv_app.relay.patience import Patience
from mxdeliv_app.relay.tls import Tls
from mxdeliv_app.relay.where import Target

KEEP_IDLE = 30.0  # seconds; under the 65 to 75 that web servers keep a connection, so that we close first
_READ = 1 << 16
# Each slice of a body has the time of an answer to go out: a peer that stops reading is found out long before
# the deadline of a large message.
_SLICE = 1 << 17

log = logging.getLogger(__name__)


class NoHttpsError(Exception):
    """The attempt failed before an answer was read; `reason` is a short slug from a closed list."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer answered; `body` is cut at `wire.MAX_ANSWER_SIZE`, `seconds` is the whole attempt.

    `cut`: why not all of the body came, a slug of `NoHttpsError`, or None. What came may do.
    """

    status: int
    content_type: str
    body: bytes
    seconds: float
    cut: str | None = None


class Https:
    """The client; safe for threads. `sweep` is to be called about twice a second.

    A peer that takes nothing, or says nothing, for longer than `patience` has, is left.
    """

    def __init__(self, dial: Dial, patience: Patience, user_agent: str) -> None:
        self._dial = dial
        self._patience = patience
        self._user_agent = user_agent
        self._tls = Tls()
        self._lock = threading.Lock()
        self._idle: dict[Target, list[Connection]] = {}
        self._busy: set[Connection] = set()

    def post(
        self,
        target: Target,
        sender: str,
        recipients: Sequence[str],
        message: bytes,
        accept: str,
        deadline: float,
    ) -> Answer:
        """POST `message` for canonical `recipients`, to be over at `deadline` (monotonic).

        Raises `NoHttpsError`, or `ForbiddenAddressError` where we may connect to no address of `target`.
        """
        started = time.monotonic()
        fields = HTTPHeaderDict()
        for name, value in (
            wire.mail_from_header(sender),
            *wire.mail_to_headers(recipients),
            ("Accept", accept),
            ("Accept-Encoding", "identity"),
            ("User-Agent", self._user_agent),
        ):
            fields.add(name, value)
        fields["Content-Length"] = str(len(message))
        request = requests.PreparedRequest()
        # Not by `Request.prepare`: it would look once more at a URL that is canonical, for every message.
        request.method, request.url = "POST", target.url
        # A plain dict can't say X-Mail-To twice; urllib3 sends each value of this one as a field of its own.
        request.headers = fields  # type: ignore[assignment]
        for kept in (True, False):
            connection = self._take(target, deadline, kept)
            request.body = message if len(message) <= _SLICE else _slices(message)  # type: ignore[assignment]
            try:
                return self._attempt(connection, request, len(message), started)
            except NoHttpsError as error:
                if error.reason != "network" or connection.fresh or time.monotonic() >= deadline:
                    raise
                # If the peer had all of the message by then, it gets it twice, as SMTP would have it.
                log.info("event=repeated host=%s reason=%s", target.host, error.reason)
        raise AssertionError("a connection that is not kept is a fresh one")

    def _attempt(
        self, connection: Connection, request: requests.PreparedRequest, size: int, started: float
    ) -> Answer:
        keep = False
        response: requests.Response | None = None
        try:
            # The first is for each slice that is sent: connecting is `dial`'s.
            response = connection.session.send(
                request,
                timeout=(self._patience.least, self._patience.silence(size)),
                stream=True,
                allow_redirects=False,
                proxies={},
            )
            connection.answered()
            body, cut = _read(connection, response)
            # After an interim answer another one may still come, to be taken for that of the next message.
            keep = cut is None and len(body) < wire.MAX_ANSWER_SIZE and response.status_code >= 200
            return Answer(
                response.status_code,
                response.headers.get("Content-Type", ""),
                body[: wire.MAX_ANSWER_SIZE],
                time.monotonic() - started,
                cut,
            )
        except NameTroubleError:
            raise NoHttpsError("dns") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NoHttpsError(connection.reason(error)) from error
        finally:
            if response is not None and not keep:
                response.close()
            self._give_back(connection, keep)

    def _take(self, target: Target, deadline: float, kept: bool) -> Connection:
        with self._lock:
            waiting = self._idle.get(target)
            # The last one used: the others get old and are closed.
            connection = waiting.pop() if waiting and kept else Connection(target, self._dial, self._tls)
            connection.begin(deadline)
            self._busy.add(connection)
            return connection

    def _give_back(self, connection: Connection, keep: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if keep:
                connection.idle_since = time.monotonic()
                self._idle.setdefault(connection.target, []).append(connection)
        if not keep:
            connection.close()

    def sweep(self) -> None:
        """Cut attempts that are over their time, and close connections that nobody used for long."""
        now = time.monotonic()
        old: list[Connection] = []
        with self._lock:
            for connection in self._busy:
                if now > connection.deadline:
                    connection.cut()
            for target, waiting in list(self._idle.items()):
                old += [one for one in waiting if now - one.idle_since > KEEP_IDLE]
                waiting[:] = [one for one in waiting if now - one.idle_since <= KEEP_IDLE]
                if not waiting:
                    del self._idle[target]
        for connection in old:
            connection.close()

    def close(self) -> None:
        """Cut whatever is under way, and close all."""
        with self._lock:
            for connection in self._busy:
                connection.cut()
            idle = [one for waiting in self._idle.values() for one in waiting]
            self._idle.clear()
        for connection in idle:
            connection.close()


def _read(connection: Connection, response: requests.Response) -> tuple[bytes, str | None]:
    """The body, and why it ends too early, if it does. Raises if nothing of it came."""
    body = b""
    try:
        # As it comes, or a peer that dribbles would keep from us what it has said already.
        while len(body) < wire.MAX_ANSWER_SIZE and (chunk := response.raw.read1(_READ)):
            body += chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if not body:
            raise
        return body, connection.reason(error)
    return body, None


def _slices(message: bytes) -> Iterator[memoryview]:
    view = memoryview(message)
    for start in range(0, len(view), _SLICE):
        yield view[start : start + _SLICE]
