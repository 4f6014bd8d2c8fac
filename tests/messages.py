"""Whole messages for tests, as chat clients, mail systems and strangers write them. Lines end with CRLF."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

from tests import packets

ALICE, BOB = "alice@a.example", "bob@b.example"
BOUNDARY = "ea3f9c0e1b"

Fields = Sequence[tuple[str, str]]


def message(fields: Fields, body: str) -> bytes:
    """A message from its header fields and its body."""
    header = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return (header + "\r\n" + body).encode("utf-8", "surrogateescape")


def envelope_fields(sender: str = ALICE, subject: str = "[...]") -> list[tuple[str, str]]:
    """The fields that every message has."""
    return [
        ("From", f"<{sender}>"),
        ("To", '"hidden-recipients": ;'),
        ("Subject", subject),
        ("Date", "Sat, 22 Nov 2025 18:00:00 +0000"),
        ("Message-ID", "<1e240@localhost>"),
        ("Chat-Version", "1.0"),
        ("MIME-Version", "1.0"),
    ]


def part(content_type: str, body: str, *fields: str) -> str:
    """A body part, without boundaries."""
    return "\r\n".join((f"Content-Type: {content_type}", *fields, "", body))


VERSION_PART = part(
    'application/pgp-encrypted; charset="utf-8"',
    "Version: 1\r\n",
    "Content-Description: PGP/MIME version identification",
    "Content-Transfer-Encoding: 7bit",
)


def encrypted_part(body: str, *fields: str) -> str:
    """The second part of PGP/MIME as Delta Chat writes it."""
    fields = fields or ("Content-Transfer-Encoding: 7bit",)
    return part(
        'application/octet-stream; name="encrypted.asc"; charset="utf-8"',
        body,
        "Content-Description: OpenPGP encrypted message",
        'Content-Disposition: inline; filename="encrypted.asc";',
        *fields,
    )


def multipart(parts: Sequence[str], boundary: str = BOUNDARY, preamble: str = "", epilogue: str = "") -> str:
    """The body of a multipart."""
    pieces = [f"--{boundary}\r\n{each}\r\n" for each in parts]
    return preamble + "".join(pieces) + f"--{boundary}--\r\n" + epilogue


def encrypted(
    armor: str,
    *,
    sender: str = ALICE,
    fields: Fields = (),
    content_type: str = "multipart/encrypted",
    preamble: str = "",
    epilogue: str = "",
) -> bytes:
    """A PGP/MIME message (RFC 3156) around `armor`."""
    typed = f'{content_type}; protocol="application/pgp-encrypted";\r\n\tboundary="{BOUNDARY}"'
    body = multipart([VERSION_PART, encrypted_part(armor)], preamble=preamble, epilogue=epilogue)
    return message([*envelope_fields(sender), *fields, ("Content-Type", typed)], body)


def sealed(octets: bytes, **armor: Any) -> bytes:
    """A PGP/MIME message whose second part is the armor of `octets`."""
    return encrypted(packets.armored(octets, **armor))


def text(body: str = "Hello, how are you?\r\n", content_type: str = "text/plain; charset=utf-8") -> bytes:
    """A message of one part in clear."""
    return message([*envelope_fields(subject="Hello"), ("Content-Type", content_type)], body)


def report(sender: str = "MAILER-DAEMON@b.example", *fields: tuple[str, str]) -> bytes:
    """A delivery report as Postfix writes it (RFC 3464)."""
    parts = [
        part("text/plain; charset=us-ascii", "This is the mail system at host b.example.\r\n"),
        part(
            "message/delivery-status",
            "Reporting-MTA: dns; b.example\r\n\r\n"
            "Final-Recipient: rfc822; x@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        ),
        part("text/rfc822-headers", "Subject: [...]\r\n"),
    ]
    typed = f'multipart/report; report-type=delivery-status; boundary="{BOUNDARY}"'
    fields = fields or (("Auto-Submitted", "auto-replied"),)
    header = [
        ("From", f"{sender} (Mail Delivery System)"),
        *envelope_fields()[1:],
        *fields,
        ("Content-Type", typed),
    ]
    return message(header, multipart(parts))


def read_receipt(sender: str = ALICE) -> bytes:
    """A read receipt in clear (RFC 8098)."""
    parts = [
        part("text/plain; charset=utf-8", "The message was displayed on your device.\r\n"),
        part(
            "message/disposition-notification",
            "Disposition: manual-action/MDN-sent-automatically; displayed\r\n",
        ),
    ]
    typed = f'multipart/report; report-type=disposition-notification; boundary="{BOUNDARY}"'
    header = [*envelope_fields(sender), ("Auto-Submitted", "auto-replied"), ("Content-Type", typed)]
    return message(header, multipart(parts))


def setup_message(
    subject: str = "Autocrypt Setup Message", key: str | None = None, text: str | None = None
) -> bytes:
    """An Autocrypt Setup Message, from Alice to herself; `key` is the body of its second part."""
    if key is None:
        hints = ("Passphrase-Format: numeric9x4", "Passphrase-Begin: 12")
        armor = packets.armored(packets.skesk() + packets.seipd(), headers=hints)
        key = f"<html><body><p>The Autocrypt setup file.</p>\r\n<pre>\r\n{armor}</pre></body></html>\r\n"
    parts = [
        part("text/plain; charset=utf-8", text or "This is the Autocrypt Setup Message.\r\n"),
        part(
            "application/autocrypt-setup",
            key,
            'Content-Disposition: attachment; filename="autocrypt-setup-message.html"',
        ),
    ]
    header = [
        *envelope_fields(subject=subject),
        ("Autocrypt-Setup-Message", "v1"),
        ("Content-Type", f'multipart/mixed; boundary="{BOUNDARY}"'),
    ]
    return message(header, multipart(parts))


def secure_join(
    step: str = "vc-request", body: str | None = None, preamble: str = "", epilogue: str = ""
) -> bytes:
    """The first message of SecureJoin, as cores up to 2.x send it."""
    parts = [
        part("text/plain; charset=utf-8; format=flowed", f"Secure-Join: {step}\r\n" if body is None else body)
    ]
    header = [
        *envelope_fields(),
        ("Secure-Join", step),
        ("Content-Type", f'multipart/mixed; boundary="{BOUNDARY}"'),
    ]
    return message(header, multipart(parts, preamble=preamble, epilogue=epilogue))


@functools.cache
def pgpy_armor(recipients: int = 1, passphrase: str = "", size: int = 20) -> str:
    """Real ciphertext: armor by PGPy, for so many new keys, or a passphrase."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pgpy
        from pgpy.constants import (
            EllipticCurveOID,
            HashAlgorithm,
            KeyFlags,
            PubKeyAlgorithm,
            SymmetricKeyAlgorithm,
        )

        clear = pgpy.PGPMessage.new("x" * size)
        if passphrase:
            return str(clear.encrypt(passphrase))
        cipher = SymmetricKeyAlgorithm.AES256
        session_key = cipher.gen_key()
        for number in range(recipients):
            key = pgpy.PGPKey.new(PubKeyAlgorithm.EdDSA, EllipticCurveOID.Ed25519)
            key.add_uid(
                pgpy.PGPUID.new(f"{number}@a.example"),
                usage={KeyFlags.Sign, KeyFlags.Certify},
                hashes=[HashAlgorithm.SHA256],
                ciphers=[cipher],
            )
            inner = pgpy.PGPKey.new(PubKeyAlgorithm.ECDH, EllipticCurveOID.Curve25519)
            key.add_subkey(inner, usage={KeyFlags.EncryptCommunications})
            clear = key.pubkey.encrypt(clear, cipher=cipher, sessionkey=session_key)
        return str(clear)
