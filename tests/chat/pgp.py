"""Real OpenPGP keys and PGP/MIME messages (RFC 3156), made by PGPy, for what no chat client submits.

PGPy is slow with large messages and knows only RFC 4880's packets; large and modern messages are the chat
core's.
"""

from __future__ import annotations

import base64
import secrets
import warnings
from email.utils import formatdate
from typing import Any

import pysequoia

with warnings.catch_warnings():
    # It names ciphers that its own dependency is about to move.
    warnings.simplefilter("ignore")
    import pgpy
    from pgpy.constants import (
        EllipticCurveOID,
        HashAlgorithm,
        KeyFlags,
        PubKeyAlgorithm,
        SymmetricKeyAlgorithm,
    )


def make_key(address: str) -> Any:
    """A new Ed25519 key with a Curve25519 subkey for encryption, as chat clients make them."""
    key = pgpy.PGPKey.new(PubKeyAlgorithm.EdDSA, EllipticCurveOID.Ed25519)
    key.add_uid(
        pgpy.PGPUID.new(address, email=address),
        usage={KeyFlags.Sign, KeyFlags.Certify},
        hashes=[HashAlgorithm.SHA256],
        ciphers=[SymmetricKeyAlgorithm.AES256],
    )
    subkey = pgpy.PGPKey.new(PubKeyAlgorithm.ECDH, EllipticCurveOID.Curve25519)
    key.add_subkey(subkey, usage={KeyFlags.EncryptCommunications, KeyFlags.EncryptStorage})
    return key


def vcard(address: str, key: Any) -> str:
    """A vCard (RFC 6350) that tells a chat client an address and its key."""
    data = base64.b64encode(bytes(key.pubkey)).decode()
    lines = ["BEGIN:VCARD", "VERSION:4.0", f"EMAIL:{address}", f"FN:{address}"]
    lines += [f"KEY:data:application/pgp-keys;base64\\,{data}", "REV:20250101T000000Z", "END:VCARD", ""]
    return "\r\n".join(lines)


def message_id(domain: str = "client.invalid") -> str:
    """A new Message-ID without its angle brackets."""
    return f"{secrets.token_hex(12)}@{domain}"


def encrypted(sender: str, recipient: str, mid: str, text: str = "hello") -> bytes:
    """A PGP/MIME message to a fresh key, CRLF, with header fields that a relay ought to take away."""
    with warnings.catch_warnings():
        # That it compresses nothing, and the cipher mode of RFC 4880, are as wanted.
        warnings.simplefilter("ignore")
        armored = str(make_key(recipient).pubkey.encrypt(pgpy.PGPMessage.new(text)))
    return _sealed(armored, sender, recipient, mid)


def encrypted_to(armored_key: str, sender: str, recipient: str, text: str) -> bytes:
    """The same, to a key that somebody else made, by Sequoia: PGPy does not know each algorithm in it."""
    armored = pysequoia.encrypt(text.encode(), recipients=[pysequoia.Cert.from_bytes(armored_key.encode())])
    return _sealed(armored.decode(), sender, recipient, message_id())


def opened(message: bytes, key: Any) -> str:
    """What is encrypted in a message, as text."""
    armored = message[message.index(b"-----BEGIN") :].decode("ascii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(key.decrypt(pgpy.PGPMessage.from_blob(armored)).message)


def _sealed(armored: str, sender: str, recipient: str, mid: str) -> bytes:
    boundary = secrets.token_hex(8)
    kind = f'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="{boundary}"'
    parts = [
        f"--{boundary}\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n",
        f"--{boundary}\nContent-Type: application/octet-stream\n\n{armored}",
        f"--{boundary}--\n",
    ]
    return _message(sender, recipient, mid, kind, "\n".join(parts))


def plain(sender: str, recipient: str, mid: str, text: str = "hello in clear") -> bytes:
    """An ordinary unencrypted message."""
    return _message(sender, recipient, mid, "text/plain; charset=utf-8", f"{text}\n")


def _message(sender: str, recipient: str, mid: str, content_type: str, body: str) -> bytes:
    head = [
        f"From: <{sender}>",
        f"To: <{recipient}>",
        f"Message-ID: <{mid}>",
        f"Date: {formatdate()}",
        "Subject: a subject that tells too much",
        "Received: from my-laptop (192.0.2.7) by nowhere; Mon, 1 Jan 2024 00:00:00 +0000",
        "X-Originating-IP: [192.0.2.7]",
        "User-Agent: tests",
        "X-Mailer: tests",
        "X-Letter: what is folded,\r\n and what it goes on with",
        "X-Mailer: tests again",
        "MIME-Version: 1.0",
        f"Content-Type: {content_type}",
    ]
    return "\r\n".join([*head, "", *body.splitlines(), ""]).encode()
