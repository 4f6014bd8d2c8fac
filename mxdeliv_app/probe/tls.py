"""TLS of a probe: verifies the peer; if that fails, connects unverified, to show the certificate."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

FAILURES = (OSError, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate: its names, issuer and end of validity."""

    names: tuple[str, ...]
    issuer: str
    until: datetime

    def line(self, now: datetime) -> str:
        """The certificate as one line, with the days left."""
        days = (self.until - now).days
        return f"certificate for {', '.join(self.names) or 'no name'} by {self.issuer}, {days} days left"


def context(*, verify: bool) -> ssl.SSLContext:
    """A TLS context like the relay's: TLS 1.2 or newer, the system's CAs."""
    found = ssl.create_default_context()
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        found.check_hostname = False
        found.verify_mode = ssl.CERT_NONE
    return found


def facts(connection: ssl.SSLSocket) -> str:
    """Protocol version, cipher and certificate, in one line."""
    cipher = connection.cipher()
    parts = [str(connection.version()), cipher[0] if cipher else "no cipher"]
    try:
        certificate = _certificate(connection)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        parts.append(f"certificate that can't be read: {type(error).__name__}")
    else:
        parts += [certificate.line(datetime.now(UTC))] if certificate is not None else []
    return ", ".join(parts)


def wrap(plain: socket.socket, host: str, *, verify: bool) -> ssl.SSLSocket:
    """Starts TLS over the socket `plain`, and owns it from then on. Raises `OSError`."""
    return context(verify=verify).wrap_socket(plain, server_hostname=host)


def _certificate(connection: ssl.SSLSocket) -> Certificate | None:
    # Not `getpeercert()`: it says nothing of a certificate that was not verified.
    octets = connection.getpeercert(binary_form=True)
    if octets is None:
        return None
    found = x509.load_der_x509_certificate(octets)
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = (
            *extension.get_values_for_type(x509.DNSName),
            *map(str, extension.get_values_for_type(x509.IPAddress)),
        )
    except x509.ExtensionNotFound:
        names = ()
    organisations = found.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    commons = found.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    issuer = next((str(one.value) for one in (*organisations, *commons)), "nobody named")
    return Certificate(tuple(names), issuer, found.not_valid_after_utc)
