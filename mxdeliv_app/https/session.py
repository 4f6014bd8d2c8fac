"""A session of the library requests over a guarded socket, which is opened and verified elsewhere.

requests and urllib3 speak HTTP over the socket; they neither choose addresses nor verify certificates.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from mxdeliv_app.https.answer import AnswerStream, FinalResponse
from mxdeliv_app.https.connection import Target


class ConnectionOpener(Protocol):
    """Opens connections to `target`, one at a time: `connection.Connection` or a similar class."""

    target: Target

    def open(self) -> ssl.SSLSocket: ...

    def drop(self) -> None: ...


class GuardedSession(requests.Session):
    """A session with one connection, to the target of `guarded`."""

    def __init__(self, guarded: ConnectionOpener) -> None:
        super().__init__()
        self.sent = 0.0  # seconds that the last request took to go out
        self._guarded = guarded
        # No proxy, no netrc, no list of authorities of the environment.
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        pool = HTTPConnectionPool(guarded.target.host, guarded.target.port, maxsize=1)
        pool.ConnectionCls = partial(_Https, guarded, self)  # type: ignore[assignment]
        self.mount("https://", _Adapter(pool))

    def close(self) -> None:
        """Closes the session and its connection."""
        super().close()
        self._guarded.drop()

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: no redirect is followed. requests would read its whole body, and turn a POST into a GET."""
        return None


def lost(error: Exception) -> Exception:
    """The timeout or connection error that requests and urllib3 wrapped as `error`; else `Exception()`."""
    causes = [one for one in _causes(error) if not isinstance(one, requests.RequestException)]
    found = (one for kind in (TimeoutError, OSError) for one in causes if isinstance(one, kind))
    return next(found, Exception())


class _Answer(FinalResponse):
    def __init__(self, connection: socket.socket, *words: Any, **settings: Any) -> None:
        self._incoming = AnswerStream(connection)
        super().__init__(cast(socket.socket, self._incoming), *words, **settings)

    def begin(self) -> None:
        super().begin()
        if self._incoming.ended:
            raise ConnectionResetError("the connection ended in a head")


class _Https(HTTPConnection):
    """urllib3's HTTP over the connection of `guarded`, which looks like plain HTTP to urllib3."""

    default_port = 443  # type: ignore[misc]
    response_class = _Answer

    def __init__(self, guarded: ConnectionOpener, session: GuardedSession, **settings: Any) -> None:
        self._guarded = guarded
        self._session = session
        super().__init__(**settings)

    def _new_conn(self) -> socket.socket:
        return self._guarded.open()

    def request(  # type: ignore[override]  # urllib3 has more parameters than http.client
        self, method: str, url: str, body: Any = None, **settings: Any
    ) -> None:
        if self.sock is None:
            self.connect()
        began = time.perf_counter()
        try:
            super().request(method, url, body, **settings)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            # The peer stopped reading: it may have said why. urllib3 then reads that.
            raise BrokenPipeError from error
        finally:
            self._session.sent = time.perf_counter() - began


class _Adapter(HTTPAdapter):
    """A pool of one connection, with our own TLS."""

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__()
        self._pool = pool

    def get_connection_with_tls_context(self, *_args: Any, **_settings: Any) -> HTTPConnectionPool:
        return self._pool

    def cert_verify(self, *_args: Any, **_settings: Any) -> None:
        """Does nothing. requests would load certifi's CAs here; `tls` has the system's."""

    def close(self) -> None:
        super().close()
        self._pool.close()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and all errors that it wraps: urllib3 and requests wrap errors in different ways."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            inner = (cause.__cause__, cause.__context__, *cause.args)
            waiting += [one for one in inner if isinstance(one, BaseException)]
