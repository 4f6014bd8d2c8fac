"""The ciphers that each port accepts, found as a scanner does, by leaving out each accepted one."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.lab.host import LabHost

# All that OpenSSL knows, without a certificate or encryption, too.
EVERYTHING = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
MODERN = {
    f"ECDHE-{key}-{cipher}"
    for key in ("RSA", "ECDSA")
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
}
_SMTP = (b"EHLO scan.lab\r\n", b"STARTTLS\r\n")
STARTTLS = {25: _SMTP, 587: _SMTP, 143: (b"a STARTTLS\r\n",)}
PORTS = (25, 143, 443, 465, 587, 993)
# RFC 8446, B.4; CCM is offered by none.
TLS13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}


@pytest.mark.parametrize("port", [143, 443, 993])
def test_tls_1_2_has_forward_secrecy_and_an_aead(port: int, b: LabHost) -> None:
    taken = set(_taken(b, port))
    assert taken
    assert taken <= MODERN


@pytest.mark.parametrize("port", [465, 587])
def test_submission_takes_no_tls_1_2(port: int, b: LabHost) -> None:
    assert list(_taken(b, port)) == []


def test_port_25_takes_what_has_a_certificate_and_128_bits(b: LabHost) -> None:
    known: dict[str, Mapping[str, Any]] = {one["name"]: one for one in _context(EVERYTHING).get_ciphers()}
    taken: list[Mapping[str, Any]] = [known[name] for name in _taken(b, 25)]
    assert MODERN & {one["name"] for one in taken}
    assert [one["name"] for one in taken if one["auth"] == "auth-null" or one["strength_bits"] < 128] == []


@pytest.mark.parametrize("port", PORTS)
def test_tls_1_3(port: int, b: LabHost) -> None:
    context = _context(EVERYTHING, ssl.TLSVersion.TLSv1_3)
    assert _handshake(b, port, context) in TLS13


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("port", PORTS)
def test_nothing_older_than_tls_1_2(port: int, b: LabHost) -> None:
    context = _context(EVERYTHING, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
    assert _handshake(b, port, context) is None


@pytest.mark.parametrize("port", [25, 465, 587])
def test_the_greeting_names_the_host(port: int, b: LabHost) -> None:
    """RFC 5321, 4.2: the domain comes first."""
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection((b.ip, port), timeout=20))
        if port == 465:
            context = _context("DEFAULT", ssl.TLSVersion.TLSv1_3)
            plain = stack.enter_context(context.wrap_socket(plain))
        assert plain.recv(512) == f"220 {b.domain} ESMTP\r\n".encode()


def _taken(b: LabHost, port: int) -> Iterator[str]:
    """The ciphers of TLS 1.2 that the port takes, each once, in the order of its liking."""
    without = ""
    while taken := _handshake(b, port, _context(EVERYTHING + without, ssl.TLSVersion.TLSv1_2)):
        yield taken
        without += f":!{taken}"


def _context(
    ciphers: str, least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, most: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(ciphers)
    context.minimum_version = least
    context.maximum_version = most or least
    return context


def _handshake(b: LabHost, port: int, context: ssl.SSLContext) -> str | None:
    """The cipher that was agreed on, None if there is none."""
    with socket.create_connection((b.ip, port), timeout=20) as plain:
        for command in STARTTLS.get(port, ()):
            assert plain.recv(4096)
            plain.sendall(command)
        if port in STARTTLS:
            assert plain.recv(4096)
        try:
            with context.wrap_socket(plain) as session:
                agreed = session.cipher()
        except (ssl.SSLError, ConnectionResetError):
            return None
    return agreed[0] if agreed else None
