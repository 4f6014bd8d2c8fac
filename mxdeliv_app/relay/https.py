"""One POST to one peer: requests over connections that are kept open and guarded.

The address connected to is the one that the guard has judged: names are resolved here, once, and no
redirect is followed. A connection belongs to one target and one thread at a time. Says what a peer
answered; what that means is `wire.understand`'s.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import requests
import urllib3.exceptions
from urllib3 import HTTPHeaderDict

from mxdeliv_app import wire
from mxdeliv_app.relay.connection import Connection, Dial
from mxdeliv_app.relay.names import NameTroubleError
from mxdeliv_app.relay.where import Target

KEEP_IDLE = 30.0  # seconds; under the 65 to 75 that web servers keep a connection, so that we close first
_CHUNK = 65536


class NoHttpsError(Exception):
    """The attempt failed before an answer was read; `reason` is a short slug from a closed list."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer answered; `body` is cut at `wire.MAX_ANSWER_SIZE`, `seconds` is the whole attempt."""

    status: int
    content_type: str
    body: bytes
    seconds: float


class Https:
    """The client; safe for threads. `sweep` is to be called about twice a second."""

    def __init__(self, dial: Dial, connect_timeout: float, attempt_timeout: float, user_agent: str) -> None:
        self._dial = dial
        self._timeouts = (connect_timeout, attempt_timeout)
        self._user_agent = user_agent
        self._verifying = ssl.create_default_context()
        self._trusting = ssl.create_default_context()
        self._trusting.check_hostname = False
        self._trusting.verify_mode = ssl.CERT_NONE
        for context in (self._verifying, self._trusting):
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._lock = threading.Lock()
        self._idle: dict[Target, list[Connection]] = {}
        self._busy: set[Connection] = set()

    def post(
        self, target: Target, sender: str, recipients: Sequence[str], message: bytes, accept: str
    ) -> Answer:
        """POST `message` for canonical `recipients`.

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
        request = requests.Request("POST", target.url, data=message).prepare()
        fields["Content-Length"] = str(len(message))
        # A plain dict can't say X-Mail-To twice; urllib3 sends each value of this one as a field of its own.
        request.headers = fields  # type: ignore[assignment]
        while True:
            connection = self._take(target, started + self._timeouts[1])
            reused = connection.used
            try:
                return self._attempt(connection, request, started)
            except NoHttpsError as error:
                # The peer closed a kept connection just when we wrote to it. Not a failing of the peer.
                if not (reused and error.reason == "network"):
                    raise

    def _attempt(self, connection: Connection, request: requests.PreparedRequest, started: float) -> Answer:
        keep = False
        response: requests.Response | None = None
        try:
            response = connection.session.send(
                request, timeout=self._timeouts, stream=True, allow_redirects=False, proxies={}
            )
            body = b""
            while len(body) < wire.MAX_ANSWER_SIZE and (chunk := response.raw.read(_CHUNK)):
                body += chunk
            keep = len(body) < wire.MAX_ANSWER_SIZE
            return Answer(
                response.status_code,
                response.headers.get("Content-Type", ""),
                body[: wire.MAX_ANSWER_SIZE],
                time.monotonic() - started,
            )
        except NameTroubleError:
            raise NoHttpsError("dns") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NoHttpsError(connection.reason(error)) from error
        finally:
            if response is not None and not keep:
                response.close()
            connection.used = True
            self._give_back(connection, keep)

    def _take(self, target: Target, deadline: float) -> Connection:
        with self._lock:
            waiting = self._idle.get(target)
            if waiting:
                connection = waiting.pop()  # the last one used: the others get old and are closed
            else:
                context = self._verifying if target.verify else self._trusting
                connection = Connection(target, self._dial, context, self._timeouts[1])
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
