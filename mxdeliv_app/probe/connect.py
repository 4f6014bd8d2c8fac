"""Connects to a host, step by step: DNS, TCP, TLS.

It connects only to addresses that the relay may connect to (`https.allowed_addresses`), and never to this
host, because its answers say nothing about a peer. The caller verifies the certificate; if that fails, it
connects again without verification, to show the certificate.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from chatmail_milter.address import ip_literal
from chatmail_milter.time_limit import TimeLimit
from mxdeliv_app.https.allowed_addresses import AllowedAddresses, ForbiddenAddressError, IPAddress
from mxdeliv_app.https.dial import OwnHost
from mxdeliv_app.https.resolver import NameTroubleError, Resolver
from mxdeliv_app.probe.steps import FailedError, ProbeAttempt

TLS_FAILURES = (OSError, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class Network:
    """The means to resolve names and connect.

    `timeout`: seconds for a connection, and for silence. `limit`: for each step, and for all of them.
    """

    names: Resolver
    guard: AllowedAddresses
    own_host: OwnHost
    timeout: float
    limit: TimeLimit

    def connect(
        self, attempt: ProbeAttempt, host: str, port: int, pinned: IPAddress | None = None
    ) -> socket.socket:
        """A connection to the first address that accepts one, guarded by `limit`. Raises `FailedError`."""
        addresses = self._addresses(attempt, host, pinned)
        with attempt.step("connect", (OSError,), self.limit) as step:
            found, failures = self._first(addresses, port)
            self.limit.guard(found)
            step.found = ", ".join([*failures, str(found.getpeername()[0])])
            return found

    def _addresses(self, attempt: ProbeAttempt, host: str, pinned: IPAddress | None) -> Sequence[IPAddress]:
        with attempt.step("DNS", (NameTroubleError,), self.limit) as step:
            literal = pinned or ip_literal(host)
            addresses = self.names.addresses(host) if literal is None else [literal]
            step.found = ", ".join(map(str, addresses))
            if not addresses:
                step.error = f"{host} has no address"
                raise FailedError
            try:
                permitted = self.guard.permitted(addresses)
            except ForbiddenAddressError:
                step.error = "no public address, and relay.allow_networks names none of these"
                raise FailedError from None
            if any(map(self.own_host.has, permitted)):
                step.error = "this is our own host"
                raise FailedError
            return permitted

    def _first(self, addresses: Sequence[IPAddress], port: int) -> tuple[socket.socket, list[str]]:
        """The connection, and the addresses that failed. Raises `OSError` if all did."""
        failures: list[str] = []
        deadline = time.monotonic() + min(2 * self.timeout, self.limit.left)
        for address in addresses:
            try:
                return socket.create_connection((str(address), port), self._connect_timeout()), failures
            except OSError as error:
                failures.append(f"{address}: {error.strerror or error}")
                if time.monotonic() > deadline:
                    break
        raise OSError("; ".join(failures))

    def _connect_timeout(self) -> float:
        # A timeout of 0 would be a socket that does not wait.
        return max(0.001, min(self.timeout, self.limit.left))


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


def tls_context(*, verify: bool) -> ssl.SSLContext:
    """A TLS context like the relay's: TLS 1.2 or newer, the system's CAs."""
    found = ssl.create_default_context()
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        found.check_hostname = False
        found.verify_mode = ssl.CERT_NONE
    return found


def tls_facts(connection: ssl.SSLSocket) -> str:
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


def start_tls(plain: socket.socket, host: str, *, verify: bool) -> ssl.SSLSocket:
    """Starts TLS over the socket `plain`, and owns it from then on. Raises `OSError`."""
    return tls_context(verify=verify).wrap_socket(plain, server_hostname=host)


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
