"""Connections and DNS queries of the checks, each within a total time, whatever the other side sends.

No other module of `doctor` connects or asks DNS: so no check can forget the time. A timeout alone does not
limit it, because each octet restarts it. TLS is verified by the caller's context.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any, BinaryIO

from dns.exception import DNSException
from dns.name import Name
from dns.rdatatype import RdataType
from dns.resolver import NXDOMAIN, NoAnswer, Resolver, zone_for_name

from chatmail_milter.time_limit import TimeLimit

SMTP, SUBMISSION = 25, 587
# Seconds for a connection, with the lookup of its addresses and all that is said over it, and for DNS
# queries that belong together. A resolver may have to ask its way down from the root.
WHOLE = 10.0
_SILENCE = 5.0  # seconds, for one address to accept, and between octets
_LONGEST = 512  # octets of a line of SMTP (RFC 5321, 4.5.3.1.5)
_MOST_LINES = 128  # of one reply; those to EHLO have about ten


class NoAddressError(OSError):
    """DNS says that a host has no address, or the name is malformed."""


def addresses(host: str) -> list[str]:
    """The addresses of a host, as apps resolve it. Raises `OSError`, of which `NoAddressError`."""
    # libc has no total time, and can't be interrupted. The thread does not keep the program from its end.
    answers = queue.SimpleQueue[list[str] | OSError]()
    threading.Thread(target=lambda: answers.put(_addresses(host)), daemon=True).start()
    try:
        found = answers.get(timeout=WHOLE)
    except queue.Empty:
        raise TimeoutError(f"its address was not found in {WHOLE:g} s") from None
    if isinstance(found, OSError):
        raise found
    return found


def _addresses(host: str) -> list[str] | OSError:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return NoAddressError(error.errno, error.strerror)
    except UnicodeError as error:
        return NoAddressError(str(error))
    except OSError as error:
        return error
    return [*dict.fromkeys(str(one[4][0]) for one in found)]


@contextmanager
def connected(host: str, port: int) -> Iterator[socket.socket]:
    """A connection to the first address that accepts one. Raises `OSError`, also when `WHOLE` is over."""
    limit = TimeLimit(WHOLE, WHOLE, _timer)
    with limit.step():
        try:
            with _first(addresses(host), port, limit) as connection:
                limit.guard(connection)
                yield connection
        finally:
            limit.release()


def _first(addresses: list[str], port: int, limit: TimeLimit) -> socket.socket:
    failure: OSError = TimeoutError("timed out")
    for address in addresses:
        if not limit.left:
            break
        try:
            return socket.create_connection((address, port), min(_SILENCE, limit.left))
        except OSError as error:
            failure = error
    raise failure


@contextmanager
def secured(
    host: str, port: int, name: str, context: ssl.SSLContext | None = None
) -> Iterator[ssl.SSLSocket]:
    """A connection with TLS for SNI `name`, on ports 25 and 587 after STARTTLS (RFC 3207).

    Without a context, the certificate is verified. Raises `OSError`, `ValueError` for a malformed name.
    """
    with connected(host, port) as plain:
        if port in (SMTP, SUBMISSION):
            _start_tls(plain)
        with (context or ssl.create_default_context()).wrap_socket(plain, server_hostname=name) as tls:
            yield tls


# (smtplib would keep all lines of a reply in memory, however many come until the time is over.)
def _start_tls(plain: socket.socket) -> None:
    host = str(plain.getsockname()[0])
    literal = f"[IPv6:{host}]" if ":" in host else f"[{host}]"
    with plain.makefile("rb") as replies:
        _expect(replies, b"220")
        plain.sendall(f"EHLO {literal}\r\n".encode("ascii"))
        _expect(replies, b"250")
        plain.sendall(b"STARTTLS\r\n")
        _expect(replies, b"220")


def _expect(replies: BinaryIO, code: bytes) -> None:
    """Reads a reply, all its lines. Raises `OSError` if its code is another one."""
    line = b""
    for _ in range(_MOST_LINES):
        line = replies.readline(_LONGEST)
        if line[3:4] != b"-":
            break
    if line[3:4] == b"-" or not line.startswith(code):
        raise OSError(f"answers {line.decode('ascii', 'replace').strip()!r}")


def fetch(
    host: str, path: str, longest: int, *, post: bytes | None = None, context: ssl.SSLContext | None = None
) -> tuple[int, bytes]:
    """Status and begin of the answer to a GET by HTTPS, or to the POST of some octets. No redirects.

    Without a context, the certificate is verified. Raises `OSError`, `ValueError` for a malformed name.
    """
    with secured(host, 443, host, context) as tls:
        # With the port of HTTP, so that the Host field has none.
        connection = HTTPConnection(host, 80)
        connection.sock = tls
        try:
            connection.request("GET" if post is None else "POST", path, post)
            answer = connection.getresponse()
            return answer.status, answer.read(longest)
        except HTTPException as error:
            raise OSError(f"no answer of HTTP: {type(error).__name__}") from error
        finally:
            connection.close()


class DnsFailedError(Exception):
    """DNS has no answer: it does not answer in time, or nothing usable."""


class Queries:
    """DNS queries that share `WHOLE` seconds. `servers`: whom to ask, by default the host's resolver."""

    def __init__(self, servers: list[str] | None = None) -> None:
        self._servers = servers
        self._end = _clock() + WHOLE

    def ask(self, name: Name | str, kind: RdataType) -> list[Any]:
        """The records (`Rdata`) of a name; empty if there are none. Raises `DnsFailedError`."""
        try:
            return list(self._resolver().resolve(name, kind, search=False, lifetime=self._left()))
        except (NXDOMAIN, NoAnswer):
            return []
        except (DNSException, OSError) as error:
            raise DnsFailedError from error

    def zone(self, name: Name) -> Name:
        """The zone of a name. Raises `DnsFailedError`."""
        try:
            return zone_for_name(name, resolver=self._resolver(), lifetime=self._left())
        except (DNSException, OSError) as error:
            raise DnsFailedError from error

    def _resolver(self) -> Resolver:
        if self._servers is None:
            return Resolver()
        found = Resolver(configure=False)
        found.nameservers = list(self._servers)
        return found

    def _left(self) -> float:
        # dnspython asks nothing if no time is left.
        return max(0.0, self._end - _clock())


_timer: Callable[..., threading.Timer] = threading.Timer
_clock: Callable[[], float] = time.monotonic
