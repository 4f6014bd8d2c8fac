"""Makes a probe's message: PGP/MIME (RFC 3156), encrypted to a new key that is then discarded.

Nobody can read it. It is signed with the relay's DKIM key, because peers require a signature; so the probe
must be able to read that key.
"""

from __future__ import annotations

import secrets
import warnings
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import dkim

with warnings.catch_warnings():
    # PGPy names ciphers that its own dependency is about to move.
    warnings.simplefilter("ignore")
    import pgpy
    from pgpy.constants import (
        EllipticCurveOID,
        HashAlgorithm,
        KeyFlags,
        PubKeyAlgorithm,
        SymmetricKeyAlgorithm,
    )

TEXT = "A probe by chatmailctl. Nobody has the key to this text."
# Those that readers show or answer to; RFC 6376, 5.4.1.
_SIGNED = [b"from", b"to", b"subject", b"date", b"message-id", b"content-type", b"mime-version"]


@dataclass(frozen=True, slots=True)
class DkimKey:
    """The signing key: domain and selector where it is published, and the key in PEM."""

    domain: str
    selector: str
    pem: bytes


def read_key(table: Path, domain: str) -> DkimKey:
    """The key of `domain` by OpenDKIM's KeyTable: `name domain:selector:path`, opendkim.conf(5).

    Raises `OSError` if a file can't be read, `LookupError` if the table has no key of the domain.
    """
    for line in table.read_text("utf-8").splitlines():
        _, _, value = line.partition("#")[0].strip().partition(" ")
        found, _, rest = value.strip().partition(":")
        selector, _, path = rest.partition(":")
        if path and found.lower() == domain:
            return DkimKey(domain, selector, Path(path).read_bytes())
    raise LookupError(f"{table} has no key of {domain}")


def signed(sender: str, recipient: str, key: DkimKey) -> bytes:
    """A new message, CRLF, ready to be sent."""
    message = _encrypted(sender, recipient)
    # As OpenDKIM signs: relaxed header, simple body (docs/dkim.md).
    signature = dkim.sign(
        message,
        key.selector.encode(),
        key.domain.encode(),
        key.pem,
        canonicalize=(b"relaxed", b"simple"),
        include_headers=[*_SIGNED, b"from"],
    )
    return bytes(signature) + message


def _encrypted(sender: str, recipient: str) -> bytes:
    boundary = secrets.token_hex(12)
    protocol = '"application/pgp-encrypted"'
    lines = [
        f"From: <{sender}>",
        f"To: <{recipient}>",
        "Subject: [...]",
        f"Date: {formatdate()}",
        f"Message-ID: <{secrets.token_hex(16)}@{sender.rpartition('@')[2].strip('[]')}>",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/encrypted; protocol={protocol}; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: application/pgp-encrypted",
        "",
        "Version: 1",
        "",
        f"--{boundary}",
        "Content-Type: application/octet-stream",
        "",
        *_armored(sender).strip().splitlines(),
        "",
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode()


def _armored(address: str) -> str:
    key = pgpy.PGPKey.new(PubKeyAlgorithm.EdDSA, EllipticCurveOID.Ed25519)
    name = pgpy.PGPUID.new(address, email=address)
    key.add_uid(
        name, usage={KeyFlags.Sign}, hashes=[HashAlgorithm.SHA256], ciphers=[SymmetricKeyAlgorithm.AES256]
    )
    key.add_subkey(
        pgpy.PGPKey.new(PubKeyAlgorithm.ECDH, EllipticCurveOID.Curve25519),
        usage={KeyFlags.EncryptCommunications},
    )
    with warnings.catch_warnings():
        # That it compresses nothing, and the cipher mode of RFC 4880, are as wanted.
        warnings.simplefilter("ignore")
        return str(key.pubkey.encrypt(pgpy.PGPMessage.new(TEXT)))
