"""Entry point of the PGP-only gate (docs/gate.md, 1): finds which of four kinds a message is, or refuses it.

`Gate` takes direction, envelope and header, then the body in chunks of any size; `finish` returns the
`Classification`. Whether the sender may send at all is decided in `rules`, not here. `check` does the same
for a whole message.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from chatmail_milter import codes
from chatmail_milter.gate import mime_fields, report, setup_message
from chatmail_milter.gate.header import Header
from chatmail_milter.gate.layers import NOBODY, WHITE_SPACE, Observer, RefusedError, Sink
from chatmail_milter.gate.message import read
from chatmail_milter.gate.payload import IDENTITY
from chatmail_milter.gate.shapes import SECURE_JOIN_STEPS, encrypted, secure_join
from chatmail_milter.verdict import Verdict

# Octets that are decoded at a time, whatever the size of the chunks fed: bounds the memory in use.
_PIECE = 65536


class Direction(Enum):
    """`OUT`: submitted by a user of this relay. `IN`: from a peer, by SMTP or HTTPS."""

    IN = "in"
    OUT = "out"


class Kind(Enum):
    """The kinds of message that pass, and `NONE`, which is refused."""

    ENCRYPTED = "encrypted"
    SECURE_JOIN = "securejoin"
    REPORT = "report"
    SETUP = "setup-message"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Envelope sender and recipients (RFC 5321, 2.3.1), canonical; `sender` is empty for the null sender."""

    sender: str
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classification:
    """The kind of a message. `reason` is the kind's value; for `NONE`, the slug of the failed check."""

    kind: Kind
    reason: str

    @property
    def verdict(self) -> Verdict:
        """523 5.7.1 for `NONE`, else pass."""
        return (codes.ENCRYPTION_NEEDED if self.kind is Kind.NONE else codes.PASS).because(self.reason)


class Gate:
    """Classifies one message: construct with its header, `feed` the body, then `finish`. Never raises."""

    def __init__(
        self,
        direction: Direction,
        envelope: Envelope,
        header: Iterable[tuple[bytes, bytes]] | Header,
        observer: Observer = NOBODY,
    ) -> None:
        self._kind = Kind.NONE
        self._body: Sink | None = None
        self._refused: str | None = None
        header = header if isinstance(header, Header) else Header(header)
        try:
            self._kind, self._body = _expect(direction, envelope, header, observer)
        except RefusedError as refusal:
            self._refused = refusal.reason

    def feed(self, chunk: bytes) -> None:
        """Takes the next octets of the body."""
        if self._body is not None and self._refused is None:
            try:
                if len(chunk) <= _PIECE:
                    self._body.feed(chunk)
                else:
                    for at in range(0, len(chunk), _PIECE):
                        self._body.feed(chunk[at : at + _PIECE])
            except RefusedError as refusal:
                self._refused = refusal.reason

    def finish(self) -> Classification:
        """Ends the body and returns the result."""
        if self._body is not None and self._refused is None:
            try:
                self._body.finish()
            except RefusedError as refusal:
                self._refused = refusal.reason
        if self._refused is not None:
            return Classification(Kind.NONE, self._refused)
        return Classification(self._kind, self._kind.value)


def check(direction: Direction, envelope: Envelope, message: bytes | BinaryIO) -> Verdict:
    """The gate's verdict on a whole message, given as bytes or as a binary stream."""
    opened = read(io.BytesIO(message) if isinstance(message, bytes) else message)
    gate = Gate(direction, envelope, opened.header)
    for chunk in opened.body:
        gate.feed(chunk)
    return gate.finish().verdict


def _expect(
    direction: Direction, envelope: Envelope, header: Header, observer: Observer
) -> tuple[Kind, Sink]:
    """The kind that the header claims, and a sink that checks the body against it. Raises `RefusedError`."""
    strict = direction is Direction.OUT
    content_type = mime_fields.content_type(header.values(b"content-type"), strict=strict)
    transfer_encoding = mime_fields.transfer_encoding(
        header.values(b"content-transfer-encoding"), strict=strict
    )
    observer.message(content_type.type, transfer_encoding)
    # RFC 2045, 6.4: a multipart has no other encoding. A program that decodes one anyway sees another body.
    if transfer_encoding not in IDENTITY:
        raise RefusedError("transfer-encoding")
    if header.refused:
        raise RefusedError(header.refused)
    if content_type.type == "multipart/encrypted":
        return Kind.ENCRYPTED, encrypted(content_type.boundary, strict=strict, observer=observer)
    authors, marks = header.values(b"from"), header.values(b"auto-submitted")
    if direction is Direction.IN and report.claims(content_type, envelope.sender, authors, marks):
        boundary = content_type.boundary
        return Kind.REPORT, report.DeliveryReport(
            boundary, header.octets, _check_quoted_header, _check_quoted
        )
    subjects, marks = header.values(b"subject"), header.values(b"autocrypt-setup-message")
    to_oneself = setup_message.claims(
        content_type.type, envelope.sender, envelope.recipients, subjects, marks
    )
    if direction is Direction.OUT and to_oneself:
        return Kind.SETUP, setup_message.SetupMessage(content_type.boundary)
    step = _secure_join_step(header)
    if step in SECURE_JOIN_STEPS and content_type.type.startswith("multipart/"):
        return Kind.SECURE_JOIN, secure_join(content_type.boundary, observer)
    raise RefusedError("not-encrypted")


def _secure_join_step(header: Header) -> bytes:
    values = header.values(b"secure-join")
    return values[0].strip().lower() if len(values) == 1 else b""


def _check_quoted_header(octets: bytes) -> None:
    """Checks a part of a report that quotes only the header of the original. Raises `RefusedError`."""
    quoted = read(io.BytesIO(octets))
    if quoted.header.refused:
        raise RefusedError(quoted.header.refused)
    if b"".join(quoted.body).strip(WHITE_SPACE):
        raise RefusedError("report-quoted")


def _check_quoted(octets: bytes) -> None:
    """Checks a part of a report that quotes the original: its header alone, or a message that itself passes.

    Raises `RefusedError`.
    """
    quoted = read(io.BytesIO(octets))
    body = b"".join(quoted.body)
    if quoted.header.refused:
        raise RefusedError(quoted.header.refused)
    if not body.strip(WHITE_SPACE):
        return
    # Any sender but the null sender, so that a quoted report is refused: no user's message caused it.
    gate = Gate(Direction.IN, Envelope("quoted@invalid"), quoted.header)
    gate.feed(body)
    if gate.finish().kind is Kind.NONE:
        raise RefusedError("report-quoted")
