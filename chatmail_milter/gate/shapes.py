"""The two multiparts whose every octet the gate accounts for, as sinks for a message's body."""

from __future__ import annotations

from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.mime import Expected, Multipart
from chatmail_milter.gate.observer import NOBODY, Observer
from chatmail_milter.gate.payload import IDENTITY, payload
from chatmail_milter.gate.stream import Exactly, Sink

SECURE_JOIN_STEPS = frozenset((b"vc-request", b"vg-request"))
_SECURE_JOIN_TEXTS = frozenset(b"secure-join: " + step for step in SECURE_JOIN_STEPS)
_VERSION_TEXTS = frozenset((b"Version: 1",))


def encrypted(boundary: bytes, *, strict: bool, observer: Observer = NOBODY) -> Sink:
    """A sink for the body of `multipart/encrypted` (RFC 3156, 4)."""

    def open_payload(transfer_encoding: str) -> Sink:
        return payload(transfer_encoding, strict=strict, observer=observer)

    second = Expected("application/octet-stream", open_payload)
    return Multipart(boundary, (_VERSION, second), observer)


def secure_join(boundary: bytes, observer: Observer = NOBODY) -> Sink:
    """A sink for the body of SecureJoin's first step as it was before it was encrypted."""
    return Multipart(boundary, (_SECURE_JOIN,), observer)


def _open_version(transfer_encoding: str) -> Sink:
    if transfer_encoding not in IDENTITY:
        raise RefusedError("transfer-encoding")
    return Exactly(_VERSION_TEXTS, "version-part")


def _open_secure_join(transfer_encoding: str) -> Sink:
    # The text reads the same in quoted-printable.
    if transfer_encoding not in IDENTITY and transfer_encoding != "quoted-printable":
        raise RefusedError("transfer-encoding")
    return Exactly(_SECURE_JOIN_TEXTS, "securejoin-body", fold=True)


_VERSION = Expected("application/pgp-encrypted", _open_version)
_SECURE_JOIN = Expected("text/plain", _open_secure_join)
