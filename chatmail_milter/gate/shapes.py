"""Sinks for the bodies of `multipart/encrypted` (RFC 3156, 4) and of SecureJoin's first step.

In both, all text outside the ciphertext is fixed.
"""

from __future__ import annotations

import re

from chatmail_milter.gate.layers import NOBODY, FixedText, Observer, RefusedError, Sink
from chatmail_milter.gate.mime import ExpectedPart, Multipart
from chatmail_milter.gate.payload import IDENTITY, decoded, payload

SECURE_JOIN_STEPS = frozenset((b"vc-request", b"vg-request"))
_SECURE_JOIN_TEXT = re.compile(rb"(?i:secure-join: v[cg]-request)")
# RFC 3156, 4 prescribes the first. Peers may differ in case and in white space around the colon.
_VERSION_TEXT = re.compile(rb"Version: 1")
_VERSION_TEXT_OF_PEERS = re.compile(rb"(?i:version)[ \t]*:[ \t]*1")

# Texts that mail programs write before the first boundary, for readers without MIME; trimmed, with LF.
PREAMBLES = frozenset(
    (
        # Thunderbird, Enigmail, Roundcube; older Enigmail, GPGMail, Ruby's mail-gpg; the same with OpenPGP's
        # present RFC; smaller programs.
        b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)",
        b"This is an OpenPGP/MIME encrypted message (RFC 2440 and 3156)",
        b"This is an OpenPGP/MIME encrypted message (RFC 9580 and 3156)",
        b"This is an OpenPGP/MIME encrypted message (RFC 3156).",
        b"This is an OpenPGP/MIME encrypted message.",
        # Enigmail with p≡p.
        b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\n"
        b"This message was encrypted with pEp https://pEp-project.org",
        # Horde IMP.
        b"This message is in MIME format and has been PGP encrypted.",
        # MIME libraries: of Mozilla, KDE, PHP and Microsoft; of Perl (MIME::Tools); Outlook.
        b"This is a multi-part message in MIME format.",
        b"This is a multi-part message in MIME format...",
        b"This is a multipart message in MIME format.",
    )
)


def encrypted(boundary: bytes, *, strict: bool, observer: Observer = NOBODY) -> Sink:
    """A sink for the body of `multipart/encrypted` (RFC 3156, 4). `strict`: for mail of our own users."""

    def open_payload(transfer_encoding: str) -> Sink:
        return payload(transfer_encoding, strict=strict, observer=observer)

    first = _VERSION if strict else _VERSION_OF_PEERS
    second = ExpectedPart("application/octet-stream", open_payload)
    return Multipart(boundary, (first, second), observer, strict=strict, preambles=PREAMBLES)


def secure_join(boundary: bytes, observer: Observer = NOBODY) -> Sink:
    """A sink for the body of SecureJoin's first message, in the older form, which is not encrypted."""
    return Multipart(boundary, (_SECURE_JOIN,), observer)


def _open_version(transfer_encoding: str) -> Sink:
    return decoded(transfer_encoding, FixedText(_VERSION_TEXT, "version-part"), strict=True)


def _open_version_of_peers(transfer_encoding: str) -> Sink:
    return decoded(transfer_encoding, FixedText(_VERSION_TEXT_OF_PEERS, "version-part"), strict=False)


def _open_secure_join(transfer_encoding: str) -> Sink:
    # Quoted-printable leaves this text as it is.
    if transfer_encoding not in IDENTITY and transfer_encoding != "quoted-printable":
        raise RefusedError("transfer-encoding")
    return FixedText(_SECURE_JOIN_TEXT, "securejoin-body")


_VERSION = ExpectedPart("application/pgp-encrypted", _open_version)
_VERSION_OF_PEERS = ExpectedPart("application/pgp-encrypted", _open_version_of_peers)
_SECURE_JOIN = ExpectedPart("text/plain", _open_secure_join)
