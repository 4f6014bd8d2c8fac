"""A guarded, kept connection to one target, under a requests Session.

requests and urllib3 speak HTTP over a socket that is made here: dialled, and in TLS already. That way each
address was judged, sessions are resumed, and neither library has a say in who is verified. An attempt can be
cut from another thread at any point: requests has no limit for a whole attempt.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from mxdeliv_app.relay.dial import Dial
from mxdeliv_app.relay.tls import Tls
from mxdeliv_app.relay.where import Target

_TIMEOUTS = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)


class Connection:
    """One connection, opened when first needed and again when the peer has closed it."""

    def __init__(self, target: Target, dial: Dial, tls: Tls) -> None:
        self.target = target
        self.idle_since = 0.0
        self.deadline = 0.0
        self.fresh = True  # opened for this very attempt
        self._dial = dial
        self._tls = tls
        self._stage = "connect"
        self._cut = False
        self._opened: ssl.SSLSocket | None = None  # not remembered yet
        self._handle: socket.socket | None = None
        pool = HTTPConnectionPool(target.host, target.port, maxsize=1)
        pool.ConnectionCls = partial(_Https, self)  # type: ignore[assignment]
        self.session = _Session()
        self.session.mount("https://", _Adapter(pool))

    def begin(self, deadline: float) -> None:
        """An attempt begins, to be over at `deadline` (monotonic)."""
        self.deadline = deadline
        self.fresh = False
        self._cut = False

    def answered(self) -> None:
        """The head of an answer has come."""
        if self._opened is not None:
            self._tls.remember(self.target, self._opened)
            self._opened = None

    def cut(self) -> None:
        """End the attempt under way, from any thread."""
        self._cut = True
        handle = self._handle
        if handle is not None:
            with contextlib.suppress(OSError):  # closed by its peer or its own thread meanwhile
                handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; it may not be used again."""
        self.session.close()
        self._drop()

    def reason(self, error: Exception) -> str:
        """The slug for an attempt that ended with `error`."""
        causes = list(_causes(error))
        timed_out = self._cut or any(isinstance(cause, _TIMEOUTS) for cause in causes)
        if self._stage != "exchange":
            return f"{self._stage}-timeout" if timed_out else self._stage
        if timed_out:
            return "timeout"
        lost = any(
            isinstance(cause, OSError) and not isinstance(cause, requests.RequestException)
            for cause in causes
        )
        return "network" if lost else "protocol"

    def open(self) -> socket.socket:
        """Connect, TLS and all. Told by `_Https`."""
        self._drop()
        self.fresh = True
        self._stage = "connect"
        plain = self._dial(self.target)
        # TLS takes the socket over; a second descriptor of it still cuts it, whoever holds the first.
        self._handle = plain.dup()
        self._stage = "tls"
        if self._cut:
            self.cut()
        self._opened = tls = self._tls.wrap(plain, self.target)
        self._stage = "exchange"
        return tls

    def _drop(self) -> None:
        # Not when urllib3 closes its socket: that may be before the body of an answer was read.
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


class _Final(HTTPResponse):
    """The final answer. http.client reads over a 100 alone, and takes a 102 or 103 for the last word."""

    def begin(self) -> None:
        super().begin()
        # RFC 9110, 15.2. A 101 is final: no other protocol was asked for, so what follows is not HTTP.
        while self.status // 100 == 1 and self.status != 101:
            self.headers = self.msg = None  # type: ignore[assignment]  # so that the next head is read
            super().begin()


class _Https(HTTPConnection):
    """HTTP of urllib3 over what `owner` opens: to urllib3 it looks like plain HTTP."""

    default_port = 443  # type: ignore[misc]
    response_class = _Final

    def __init__(self, owner: Connection, **settings: Any) -> None:
        self._owner = owner
        self._behind = b""
        super().__init__(**settings)

    def _new_conn(self) -> socket.socket:
        return self._owner.open()

    def request(  # type: ignore[override]  # urllib3 has more parameters than http.client
        self, method: str, url: str, body: Any = None, **settings: Any
    ) -> None:
        if self.sock is None:
            self.connect()
        # A small message goes out together with its header: one TLS record, one wake-up of the peer.
        self._behind, body = (body, None) if isinstance(body, bytes) else (b"", body)
        try:
            super().request(method, url, body, **settings)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            # The peer stopped reading: it may have said why (413 of a front server). urllib3 then reads that.
            raise BrokenPipeError from error

    def send(self, data: Any) -> None:
        if self._behind:
            data, self._behind = data + self._behind, b""
        super().send(data)


class _Adapter(HTTPAdapter):
    """One pool of one connection, whose TLS is ours."""

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__()
        self._pool = pool

    def get_connection_with_tls_context(self, *_args: Any, **_settings: Any) -> HTTPConnectionPool:
        return self._pool

    def cert_verify(self, *_args: Any, **_settings: Any) -> None:
        """requests would load certifi's list here; `tls` has the system's."""

    def close(self) -> None:
        super().close()
        self._pool.close()


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """No redirect is one; requests would read the whole body of each, and a POST would become a GET."""
        return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and all that it was made from: urllib3 and requests wrap in turn, each in its own way."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            inner = (cause.__cause__, cause.__context__, *cause.args)
            waiting += [one for one in inner if isinstance(one, BaseException)]
