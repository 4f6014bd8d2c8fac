"""The PGP-only gate: may a message of this shape enter the queue? (design: gate.md, 1)

`Gate` is given direction, envelope and header, then the body in chunks of any size, and says at the end
what kind of message it was: one of four that pass, or none and why. It does not look at who sent it
beyond what those four kinds ask; that is for `rules`. `check` does all of it for a message in one piece.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from chatmail_milter import codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.gate import fields
from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.fields import FIELD_MOST, FIELDS, FIELDS_KEPT, ContentType
from chatmail_milter.gate.message import read
from chatmail_milter.gate.observer import NOBODY, Observer
from chatmail_milter.gate.payload import IDENTITY
from chatmail_milter.gate.shapes import SECURE_JOIN_STEPS, encrypted, secure_join
from chatmail_milter.gate.stream import Sink
from chatmail_milter.verdict import Verdict

# What is decoded at a time, however large the chunks are that come.
_PIECE = 65536

# RFC 3834, 5: a keyword, then perhaps parameters and comments.
_AUTO_SUBMITTED = re.compile(rb"([a-z0-9-]+)[ \t]*(?:[;(\r\n].*)?", re.DOTALL)


class Direction(Enum):
    """`OUT`: submitted by a user of ours. `IN`: from a peer, whatever the road."""

    IN = "in"
    OUT = "out"


class Kind(Enum):
    """What a message turned out to be."""

    ENCRYPTED = "encrypted"
    SECURE_JOIN = "securejoin"
    REPORT = "report"
    SETUP = "setup-message"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Addresses in canonical form; `sender` is empty for the null sender."""

    sender: str
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classification:
    """The kind of a message; for `NONE`, `reason` is a slug that says what it failed by."""

    kind: Kind
    reason: str

    @property
    def verdict(self) -> Verdict:
        """Every kind passes but `NONE`."""
        return (codes.ENCRYPTION_NEEDED if self.kind is Kind.NONE else codes.PASS).because(self.reason)


class Gate:
    """One message: its `header` (of which it reads what `FIELDS` names), then its body, then `finish`."""

    def __init__(
        self,
        direction: Direction,
        envelope: Envelope,
        header: Iterable[tuple[bytes, bytes]],
        observer: Observer = NOBODY,
    ) -> None:
        self._kind = Kind.NONE
        self._body: Sink | None = None
        self._refused: str | None = None
        try:
            self._kind, self._body = _expect(direction, envelope, _Header(header), observer)
        except RefusedError as refusal:
            self._refused = refusal.reason

    def feed(self, chunk: bytes) -> None:
        """The next octets of the body."""
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
        """The body is over: what was it?"""
        if self._body is not None and self._refused is None:
            try:
                self._body.finish()
            except RefusedError as refusal:
                self._refused = refusal.reason
        if self._refused is not None:
            return Classification(Kind.NONE, self._refused)
        return Classification(self._kind, self._kind.value)


def check(direction: Direction, envelope: Envelope, message: bytes | BinaryIO) -> Verdict:
    """The gate's verdict on a whole message, octets or a stream of them."""
    opened = read(io.BytesIO(message) if isinstance(message, bytes) else message)
    gate = Gate(direction, envelope, opened.fields)
    for chunk in opened.body:
        gate.feed(chunk)
    return gate.finish().verdict


class _Header:
    """The fields that the gate reads, at most `FIELDS_KEPT` of each."""

    def __init__(self, given: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[bytes, list[bytes]] = {name: [] for name in FIELDS}
        for name, value in given:
            values = self._values.get(name.lower())
            if values is not None and len(values) < FIELDS_KEPT:
                values.append(value)

    def all(self, name: bytes) -> Sequence[bytes]:
        return self._values[name]

    def one(self, name: bytes) -> bytes:
        """The value of a field that is there once, trimmed; empty if it isn't, or is too long to be read."""
        values = self._values[name]
        return values[0].strip() if len(values) == 1 and len(values[0]) <= FIELD_MOST else b""


def _expect(
    direction: Direction, envelope: Envelope, header: _Header, observer: Observer
) -> tuple[Kind, Sink | None]:
    """What the header claims to be, and the sink that sees whether the body is. Raises `RefusedError`."""
    content_type = fields.content_type(header.all(b"content-type"))
    transfer_encoding = fields.transfer_encoding(header.all(b"content-transfer-encoding"))
    observer.message(content_type.type, transfer_encoding)
    # RFC 2045, 6.4: a multipart has no other. Programs that decode one all the same see another body.
    if transfer_encoding not in IDENTITY:
        raise RefusedError("transfer-encoding")
    if content_type.type == "multipart/encrypted":
        strict = direction is Direction.OUT
        return Kind.ENCRYPTED, encrypted(content_type.boundary, strict=strict, observer=observer)
    if direction is Direction.IN and _is_report(content_type, envelope, header):
        return Kind.REPORT, None
    if direction is Direction.OUT and _is_setup_message(content_type, envelope, header):
        return Kind.SETUP, None
    step = header.one(b"secure-join").lower()
    if step in SECURE_JOIN_STEPS and content_type.type.startswith("multipart/"):
        return Kind.SECURE_JOIN, secure_join(content_type.boundary, observer)
    raise RefusedError("not-encrypted")


def _is_report(content_type: ContentType, envelope: Envelope, header: _Header) -> bool:
    """A delivery report (RFC 3464) that a mail system made itself; a read receipt (RFC 8098) never is."""
    auto_submitted = _AUTO_SUBMITTED.fullmatch(header.one(b"auto-submitted").lower())
    if content_type.type != "multipart/report" or auto_submitted is None or auto_submitted[1] == b"no":
        return False
    if content_type.parameters.get("report-type", "").lower() == "disposition-notification":
        return False
    try:
        author = fields.author(header.all(b"from"))
    except MalformedAddressError:
        return False
    return _is_mailer_daemon(author) and (not envelope.sender or _is_mailer_daemon(envelope.sender))


def _is_mailer_daemon(address: str) -> bool:
    return address.lower().startswith("mailer-daemon@")


def _is_setup_message(content_type: ContentType, envelope: Envelope, header: _Header) -> bool:
    """A user's own key, sent to the user's other devices (Autocrypt 1.1, 4.4: Autocrypt Setup Message)."""
    return (
        content_type.type == "multipart/mixed"
        and header.one(b"subject") == b"Autocrypt Setup Message"
        and bool(envelope.sender)
        and envelope.recipients == (envelope.sender,)
    )
