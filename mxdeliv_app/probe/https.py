"""Probes HTTPS: a POST without recipients, which identifies the host, then the message.

Connects step by step, to measure each step.
"""

from __future__ import annotations

import ssl

import requests
import urllib3

from mxdeliv_app.https.connection import Target
from mxdeliv_app.https.session import GuardedSession
from mxdeliv_app.mxdeliv import peer_answer, wire
from mxdeliv_app.probe import identity
from mxdeliv_app.probe.connect import TLS_FAILURES, Network, start_tls, tls_facts
from mxdeliv_app.probe.steps import FailedError, ProbeAttempt, Step

# urllib3's are those of a body that is read by itself.
_FAILURES = (OSError, requests.RequestException, urllib3.exceptions.HTTPError, ValueError)


def attempt(target: Target, sender: str, recipient: str, message: bytes, network: Network) -> ProbeAttempt:
    """Sends `message` to `target`. Addresses are canonical. A failure is in the result."""
    found = ProbeAttempt("https", target.authority)
    try:
        with (
            _secured(target, found, network) as connection,
            GuardedSession(_Verified(target, connection)) as session,
        ):
            with found.step("proof", _FAILURES, network.limit) as step:
                answer = _post(session, target, network.timeout, (sender, ()), b"")
                found.identity = identity.of_web_server(answer.status_code, _kind(answer), answer.content)
                step.found = f"{_line(answer)}: {found.identity}"
            if found.identity in (identity.CATCH_ALL, identity.WEB):
                return found
            with found.step("answer", _FAILURES, network.limit) as step:
                answer = _post(session, target, network.timeout, (sender, (recipient,)), message)
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
    with found.step("TLS", TLS_FAILURES, network.limit) as step:
        try:
            connection = start_tls(plain, target.host, verify=target.verify)
        except ssl.SSLCertVerificationError as error:
            step.error = f"the certificate is not valid: {error.verify_message}"
            raise
        step.found = tls_facts(connection)
        if not target.verify:
            step.found += ", not verified"
        return connection


def _understood(found: ProbeAttempt, step: Step, answer: requests.Response, recipient: str) -> None:
    told = peer_answer.understand(answer.status_code, _kind(answer), answer.content, (recipient,))
    if not told.replies:
        step.error = f"no answer that counts: {told.meaning.value}"
        return
    reply = told.replies[0].reply
    found.code, found.reply = reply.code, reply.line


def _kind(answer: requests.Response) -> str:
    return str(answer.headers.get("Content-Type", ""))


def _line(answer: requests.Response) -> str:
    first = answer.content[:200].splitlines()
    words = wire.one_line(first[0]) if first else ""
    return f"{answer.status_code} {words}".strip()


class _Verified:
    """An existing connection, which can be opened once."""

    def __init__(self, target: Target, connection: ssl.SSLSocket) -> None:
        self.target = target
        self._connection: ssl.SSLSocket | None = connection

    def open(self) -> ssl.SSLSocket:
        """The connection. Raises `ConnectionError` if it was closed meanwhile."""
        found, self._connection = self._connection, None
        if found is None:
            raise ConnectionResetError("the peer closed the connection")
        return found

    def drop(self) -> None:
        """Does nothing: there is no second descriptor."""


def _post(
    session: GuardedSession,
    target: Target,
    timeout: float,
    envelope: tuple[str, tuple[str, ...]],
    message: bytes,
) -> requests.Response:
    """One POST and its answer, read whole up to `wire.MAX_ANSWER_SIZE`. `envelope`: sender and recipients."""
    sender, recipients = envelope
    fields = dict(
        (
            wire.mail_from_header(sender),
            *wire.mail_to_headers(recipients),
            ("Accept", wire.ACCEPT),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "chatmailctl-probe"),
        )
    )
    answer = session.post(
        target.url, message, headers=fields, timeout=timeout, allow_redirects=False, stream=True
    )
    answer._content = answer.raw.read(wire.MAX_ANSWER_SIZE, decode_content=False)
    return answer
