"""The two multiparts whose every octet the gate accounts for, as sinks for a message's body."""

from __future__ import annotations

import re

from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.mime import Expected, Multipart
from chatmail_milter.gate.observer import NOBODY, Observer
from chatmail_milter.gate.payload import IDENTITY, decoded, payload
from chatmail_milter.gate.stream import Exactly, Sink

SECURE_JOIN_STEPS = frozenset((b"vc-request", b"vg-request"))
_SECURE_JOIN_TEXT = re.compile(rb"(?i:secure-join: v[cg]-request)")
# RFC 3156, 4 has the first; a field's name has no case, and the space after its colon is not required.
_VERSION_TEXT = re.compile(rb"Version: 1")
_VERSION_TEXT_OF_PEERS = re.compile(rb"(?i:version)[ \t]*:[ \t]*1")

# What programs write before the first boundary, where a reader without MIME would see it, whole and
# trimmed, with LF:
PREAMBLES = frozenset(
    (
        # Thunderbird, Enigmail, Roundcube; older Enigmail, Ruby's mail-gpg; and the same with OpenPGP's
        # present RFC.
        b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)",
        b"This is an OpenPGP/MIME encrypted message (RFC 2440 and 3156)",
        b"This is an OpenPGP/MIME encrypted message (RFC 9580 and 3156)",
        # Enigmail with p≡p.
        b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\n"
        b"This message was encrypted with pEp https://pEp-project.org",
        # Horde IMP.
        b"This message is in MIME format and has been PGP encrypted.",
        # MIME libraries: of Mozilla, KDE, PHP and Microsoft; of Perl (MIME::Tools).
        b"This is a multi-part message in MIME format.",
        b"This is a multi-part message in MIME format...",
    )
)


def encrypted(boundary: bytes, *, strict: bool, observer: Observer = NOBODY) -> Sink:
    """A sink for the body of `multipart/encrypted` (RFC 3156, 4). `strict` if a user of ours wrote it."""

    def open_version(transfer_encoding: str) -> Sink:
        text = _VERSION_TEXT if strict else _VERSION_TEXT_OF_PEERS
        return decoded(transfer_encoding, Exactly(text, "version-part"), strict=strict)

    def open_payload(transfer_encoding: str) -> Sink:
        return payload(transfer_encoding, strict=strict, observer=observer)

    parts = (
        Expected("application/pgp-encrypted", open_version),
        Expected("application/octet-stream", open_payload),
    )
    return Multipart(boundary, parts, observer, strict=strict, preambles=PREAMBLES)


def secure_join(boundary: bytes, observer: Observer = NOBODY) -> Sink:
    """A sink for the body of SecureJoin's first step as it was before it was encrypted."""
    return Multipart(boundary, (_SECURE_JOIN,), observer)


def _open_secure_join(transfer_encoding: str) -> Sink:
    # The text reads the same in quoted-printable.
    if transfer_encoding not in IDENTITY and transfer_encoding != "quoted-printable":
        raise RefusedError("transfer-encoding")
    return Exactly(_SECURE_JOIN_TEXT, "securejoin-body")


_SECURE_JOIN = Expected("text/plain", _open_secure_join)
