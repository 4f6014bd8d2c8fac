"""Checks the certificates that clients and peers see, by name and port, and their validity."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from chatmail_milter.address import trusts_any_certificate
from chatmail_milter.doctor import Finding, FindingState, good, unknown
from chatmail_milter.doctor.network import SMTP, SUBMISSION, secured

SUBJECT = "certificates"
PORTS = (443, 465, SUBMISSION, 993)
# certbot renews with 30 days left: with fewer than this it has failed for two weeks.
SOON_DAYS = 14
_HERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ServedCertificate:
    """The certificate of a port for a name. `error`: why verification fails, else empty."""

    until: datetime
    error: str


Look = Callable[[str, int], ServedCertificate]


def look(name: str, port: int, host: str = _HERE) -> ServedCertificate:
    """Connects to `host`, by default this one, as a client with SNI `name`. Raises `OSError`."""
    error = ""
    try:
        _handshake(name, port, host, ssl.create_default_context())
    except ssl.SSLCertVerificationError as failure:
        error = failure.verify_message
    served = x509.load_der_x509_certificate(shown(name, port, host))
    return ServedCertificate(served.not_valid_after_utc, error)


def shown(name: str, port: int, host: str = _HERE) -> bytes:
    """The certificate that a port of `host` shows for SNI `name`, in DER. Raises `OSError`."""
    return _handshake(name, port, host, trusting())


def trusting() -> ssl.SSLContext:
    """A context that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _handshake(name: str, port: int, host: str, context: ssl.SSLContext) -> bytes:
    with secured(host, port, name, context) as tls:
        return tls.getpeercert(binary_form=True) or b""


def check(
    names: Sequence[str], exchanges: Sequence[str], now: datetime | None = None, look: Look = look
) -> Iterator[Finding]:
    """Checks each name at each port of apps, and the names of MX records at port 25, too.

    For IP literals and names that begin with `_`, only the days left.
    """
    pairs = [(name, port) for name in (*names, *exchanges) for port in PORTS]
    for name, port in dict.fromkeys([*pairs, *((name, SMTP) for name in exchanges)]):
        what = f"{name}:{port}"
        try:
            served = look(name.strip("[]").removeprefix("IPv6:"), port)
        except (OSError, ValueError) as error:
            yield unknown(SUBJECT, what, f"no TLS: {error}")
            continue
        yield _of(name, what, served, now or datetime.now(UTC))


def _of(name: str, what: str, served: ServedCertificate, now: datetime) -> Finding:
    days = (served.until - now).days
    renew = "see `chatmail_tls_mode` of the playbook; with ACME: certbot renew"
    if days < 0:
        return Finding(
            SUBJECT, what, FindingState.BAD, f"expired {-days} days ago", "apps and peers refuse it", renew
        )
    if served.error and not trusts_any_certificate(name):
        return Finding(SUBJECT, what, FindingState.BAD, served.error, "apps and peers refuse it", renew)
    if days < SOON_DAYS:
        return Finding(SUBJECT, what, FindingState.SOON, f"{days} days left", "it was not renewed", renew)
    return good(SUBJECT, what, f"{days} days left")
