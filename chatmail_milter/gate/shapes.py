"""The two multiparts whose every octet the gate accounts for, as sinks for a message's body."""

from __future__ import annotations

from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.fields import PartFields
from chatmail_milter.gate.mime import Multipart
from chatmail_milter.gate.payload import IDENTITY, payload
from chatmail_milter.gate.stream import Exactly, Sink

SECURE_JOIN_STEPS = frozenset((b"vc-request", b"vg-request"))


class Encrypted:
    """A sink for the body of `multipart/encrypted` (RFC 3156, 4)."""

    def __init__(self, boundary: bytes, *, strict: bool) -> None:
        self._multipart = Multipart(boundary, self._open)
        self._strict = strict
        self._parts = 0

    def feed(self, data: bytes) -> None:
        self._multipart.feed(data)

    def finish(self) -> None:
        self._multipart.finish()
        if self._parts != 2:
            raise RefusedError("part-count")

    def _open(self, part: PartFields) -> Sink:
        self._parts += 1
        if self._parts == 1 and part.type == "application/pgp-encrypted":
            if part.transfer_encoding not in IDENTITY:
                raise RefusedError("transfer-encoding")
            return Exactly(frozenset((b"Version: 1",)), "version-part")
        if self._parts == 2 and part.type == "application/octet-stream":
            return payload(part.transfer_encoding, strict=self._strict)
        raise RefusedError("part-type" if self._parts <= 2 else "part-count")


class SecureJoin:
    """A sink for the body of SecureJoin's first step as it was before it was encrypted."""

    def __init__(self, boundary: bytes) -> None:
        self._multipart = Multipart(boundary, self._open)
        self._parts = 0

    def feed(self, data: bytes) -> None:
        self._multipart.feed(data)

    def finish(self) -> None:
        self._multipart.finish()
        if self._parts != 1:
            raise RefusedError("part-count")

    def _open(self, part: PartFields) -> Sink:
        self._parts += 1
        if self._parts > 1:
            raise RefusedError("part-count")
        if part.type != "text/plain":
            raise RefusedError("part-type")
        # The text reads the same in quoted-printable.
        if part.transfer_encoding not in IDENTITY | {"quoted-printable"}:
            raise RefusedError("transfer-encoding")
        texts = frozenset(b"secure-join: " + step for step in SECURE_JOIN_STEPS)
        return Exactly(texts, "securejoin-body", fold=True)
