"""The road by HTTPS: a POST without recipients, which says what the host is, then the message.

requests speaks over a connection that is made here step by step, so that each step has its time.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from mxdeliv_app.https.target import Target
from mxdeliv_app.mxdeliv import peer_answer, wire
from mxdeliv_app.probe import identity, tls
from mxdeliv_app.probe.connect import Network
from mxdeliv_app.probe.steps import FailedError, ProbeAttempt, Step

_FAILURES = (OSError, requests.RequestException, ValueError)


def attempt(target: Target, sender: str, recipient: str, message: bytes, network: Network) -> ProbeAttempt:
    """Try `target` with `message`; canonical addresses. What failed is in the result."""
    found = ProbeAttempt("https", target.authority)
    try:
        with _secured(target, found, network) as connection, _Session(connection, network.timeout) as session:
            with found.step("proof", _FAILURES, network.limit) as step:
                answer = session.post(target, sender, (), b"")
                found.identity = identity.of_web_server(answer.status_code, _kind(answer), answer.content)
                step.found = f"{_line(answer)}: {found.identity}"
            if found.identity in (identity.CATCH_ALL, identity.WEB):
                return found
            with found.step("answer", _FAILURES, network.limit) as step:
                answer = session.post(target, sender, (recipient,), message)
                step.found = _line(answer)
            found.split(step, Step("POST", session.sent, f"{len(message)} octets"))
            _understood(found, step, answer, recipient)
    except FailedError:
        pass
    finally:
        network.limit.release()
    return found


def _secured(target: Target, found: ProbeAttempt, network: Network) -> ssl.SSLSocket:
    """A TLS connection, verified unless the target needs no valid certificate."""
    plain = network.connect(found, target.host, target.port, target.pinned)
    with found.step("TLS", tls.FAILURES, network.limit) as step:
        try:
            connection = tls.wrap(plain, target.host, verify=target.verify)
        except ssl.SSLCertVerificationError as error:
            step.error = f"the certificate is not valid: {error.verify_message}"
            raise
        step.found = tls.facts(connection)
        if not target.verify:
            step.found += ", not verified"
        return connection


def _understood(found: ProbeAttempt, step: Step, answer: requests.Response, recipient: str) -> None:
    told = peer_answer.understand(answer.status_code, _kind(answer), answer.content, (recipient,))
    if not told.replies:
        step.error = f"no answer that counts: {told.meaning.value}"
        return
    (reply,) = told.replies
    found.code, found.reply = reply.code, reply.line


def _kind(answer: requests.Response) -> str:
    return str(answer.headers.get("Content-Type", ""))


def _line(answer: requests.Response) -> str:
    first = answer.content[:200].splitlines()
    words = wire.one_line(first[0]) if first else ""
    return f"{answer.status_code} {words}".strip()


class _Opened(HTTPConnection):
    """HTTP over a socket that is connected and in TLS already. `sent`: seconds until the request was out."""

    def __init__(self, connection: ssl.SSLSocket, **settings: Any) -> None:
        super().__init__(**settings)
        self._connection = connection
        self.sent = 0.0

    def _new_conn(self) -> socket.socket:
        return self._connection

    def request(self, *arguments: Any, **settings: Any) -> None:
        began = time.perf_counter()
        super().request(*arguments, **settings)
        self.sent = time.perf_counter() - began


class _Session:
    """A requests session over one connection."""

    def __init__(self, connection: ssl.SSLSocket, timeout: float) -> None:
        self._timeout = timeout
        self._http = _Opened(connection, host="peer")
        self._session = requests.Session()
        # No proxy, no netrc, no list of authorities of the environment.
        self._session.trust_env = False
        self._session.mount("https://", _ProbeAdapter(self._http))

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_error: object) -> None:
        self._session.close()

    @property
    def sent(self) -> float:
        """Seconds until the last request was out."""
        return self._http.sent

    def post(
        self, target: Target, sender: str, recipients: tuple[str, ...], message: bytes
    ) -> requests.Response:
        """One POST and its answer, which is read whole, up to `wire.MAX_ANSWER_SIZE`."""
        fields = dict(
            (
                wire.mail_from_header(sender),
                *wire.mail_to_headers(recipients),
                ("Accept", wire.ACCEPT),
                ("Accept-Encoding", "identity"),
                ("User-Agent", "chatmailctl-probe"),
            )
        )
        answer = self._session.post(
            target.url, message, headers=fields, timeout=self._timeout, allow_redirects=False, stream=True
        )
        answer._content = answer.raw.read(wire.MAX_ANSWER_SIZE, decode_content=False)
        return answer


class _ProbeAdapter(HTTPAdapter):
    """Gives requests the one connection that there is."""

    def __init__(self, connection: _Opened) -> None:
        super().__init__()
        self._pool = HTTPConnectionPool("peer", maxsize=1)
        self._pool.ConnectionCls = lambda **_settings: connection  # type: ignore[assignment]

    def get_connection_with_tls_context(self, *_args: Any, **_settings: Any) -> HTTPConnectionPool:
        return self._pool

    def cert_verify(self, *_args: Any, **_settings: Any) -> None:
        """The connection's TLS is verified already, or is not to be."""
