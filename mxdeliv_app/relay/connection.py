"""A guarded, kept connection to one target, under a requests Session.

`dialer` resolves, judges and connects; urllib3 then speaks TLS with the target's name to that very socket.
An attempt can be cut from another thread at any point: requests has no limit for a whole attempt.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from chatmail_milter.address import ip_literal
from mxdeliv_app.relay.guard import Guard
from mxdeliv_app.relay.names import NameTroubleError
from mxdeliv_app.relay.where import Lookup, Target

Dial = Callable[[Target], socket.socket]

# Each costs a connect timeout where a peer's address is dead.
MAX_ADDRESSES = 3

_TIMEOUTS = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)

# Targets without verification are so by rule or by an operator's route; a warning per request tells nobody.
warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)


def dialer(names: Lookup, guard: Guard, connect_timeout: float) -> Dial:
    """What connects to a target: its pinned address, else those that its host has, if the guard permits.

    The function raises `ForbiddenAddressError`, `NameTroubleError`, `OSError`.
    """

    def dial(target: Target) -> socket.socket:
        literal = target.pinned or ip_literal(target.host)
        addresses = names.addresses(target.host) if literal is None else [literal]
        failure: Exception = NameTroubleError("no address")
        for address in guard.permitted(addresses)[:MAX_ADDRESSES]:
            try:
                found = socket.create_connection((str(address), target.port), connect_timeout)
            except OSError as error:
                failure = error
            else:
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return found
        raise failure

    return dial


class Connection:
    """One connection, opened when first needed and again when the peer has closed it."""

    def __init__(self, target: Target, dial: Dial, context: ssl.SSLContext, patience: float) -> None:
        self.target = target
        self.used = False
        self.idle_since = 0.0
        self.deadline = 0.0
        self._dial = dial
        self._patience = patience
        self._stage = "connect"
        self._cut = False
        self._handle: socket.socket | None = None
        pool = HTTPSConnectionPool(target.host, target.port, maxsize=1, ssl_context=context)
        pool.ConnectionCls = partial(_Https, self)  # type: ignore[assignment]
        self.session = _Session()
        self.session.mount("https://", _Adapter(pool))

    def begin(self, deadline: float) -> None:
        """An attempt begins, to be over at `deadline` (monotonic)."""
        self.deadline = deadline
        self._cut = False

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
        self.drop()

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

    # Told by `_Https`:

    def open(self) -> socket.socket:
        """Connect, without TLS yet."""
        self._stage = "connect"
        found = self._dial(self.target)
        # TLS takes the socket over; a second descriptor of it still cuts it, whoever holds the first.
        self._handle = found.dup()
        self._stage = "tls"
        if self._cut:
            self.cut()
        return found

    def opened(self, tls: Any) -> None:
        """TLS stands."""
        self._stage = "exchange"
        # urllib3 would give each write of the body no more than the time to connect.
        tls.settimeout(self._patience)

    def drop(self) -> None:
        """The socket is closed."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


class _Https(HTTPSConnection):
    def __init__(self, owner: Connection, **settings: Any) -> None:
        self._owner = owner
        super().__init__(**settings)

    def _new_conn(self) -> socket.socket:
        return self._owner.open()

    def connect(self) -> None:
        super().connect()
        self._owner.opened(self.sock)

    def close(self) -> None:
        super().close()
        self._owner.drop()


class _Adapter(HTTPAdapter):
    """One pool of one connection, its TLS context made by us."""

    def __init__(self, pool: HTTPSConnectionPool) -> None:
        super().__init__()
        self._pool = pool

    def get_connection_with_tls_context(self, *_args: Any, **_settings: Any) -> HTTPSConnectionPool:
        return self._pool

    def cert_verify(self, *_args: Any, **_settings: Any) -> None:
        """requests would load certifi's list here; the context has the system's."""

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
