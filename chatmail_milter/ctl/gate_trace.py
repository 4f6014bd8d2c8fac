"""Records the structure of a message that the gate reads, without content, for `chatmailctl gate check`.

A sender can write anything into a media type or a transfer encoding, so only common ones are printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from chatmail_milter.gate.layers import Observer
from chatmail_milter.gate.reasons import PACKET_NAMES, packet_name

_ENCODINGS = {"": "none"} | {name: name for name in ("7bit", "8bit", "binary", "base64", "quoted-printable")}
# The kinds of media types (RFC 2046, 3), and of each the types that turn up in mail.
_TYPES = {
    "application": frozenset(
        ("autocrypt-setup", "octet-stream", "pdf", "pgp-encrypted", "pgp-keys", "pgp-signature")
    ),
    "audio": frozenset(("aac", "mpeg", "ogg")),
    "image": frozenset(("gif", "jpeg", "png", "webp")),
    "message": frozenset(("delivery-status", "disposition-notification", "rfc822")),
    "multipart": frozenset(("alternative", "encrypted", "mixed", "related", "report", "signed")),
    "text": frozenset(("calendar", "html", "plain", "rfc822-headers")),
    "video": frozenset(("mp4", "webm")),
}


@dataclass(frozen=True, slots=True)
class Packet:
    """`version` and `length` are None if the packet has none, or if the gate refused before it."""

    tag: int
    name: str
    version: int | None
    length: int | None
    partial: bool


@dataclass(slots=True)
class TracedArmor:
    """Names of the armor headers, and whether there is a CRC24."""

    headers: list[str] = field(default_factory=list)
    crc: bool = False


@dataclass(slots=True)
class TracedPart:
    """`octets` counts the encoded body as far as the gate read it."""

    type: str
    transfer_encoding: str
    octets: int = 0
    armor: TracedArmor | None = None
    packets: list[Packet] = field(default_factory=list)


class GateTrace(Observer):
    """A message: its media type (None if that can't be parsed) and its parts."""

    def __init__(self) -> None:
        self.type: str | None = None
        self.transfer_encoding: str | None = None
        # The caller sets both: octets of the body, and of the message as the milter's log counts them.
        self.octets = self.size = 0
        self.parts: list[TracedPart] = []

    def message(self, content_type: str, transfer_encoding: str) -> None:
        self.type, self.transfer_encoding = _type(content_type), _ENCODINGS.get(transfer_encoding, "other")

    def part(self, content_type: str, transfer_encoding: str) -> None:
        self.parts.append(TracedPart(_type(content_type), _ENCODINGS.get(transfer_encoding, "other")))

    def octets_of_part(self, count: int) -> None:
        self.parts[-1].octets += count

    def armor(self) -> None:
        self.parts[-1].armor = TracedArmor()

    def armor_header(self, name: str) -> None:
        self._armor().headers.append(name)

    def armor_checksum(self) -> None:
        self._armor().crc = True

    def packet(self, tag: int, version: int | None, length: int | None, *, partial: bool) -> None:
        name = PACKET_NAMES.get(tag, "unknown")
        self.parts[-1].packets.append(Packet(tag, name, version, length, partial))

    def stretch(self, length: int) -> None:
        packets = self.parts[-1].packets
        last = packets[-1]
        packets[-1] = Packet(last.tag, last.name, last.version, (last.length or 0) + length, last.partial)

    def _armor(self) -> TracedArmor:
        armor = self.parts[-1].armor
        if armor is None:
            raise RuntimeError("no armor")
        return armor

    def as_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {
            "type": self.type,
            "transfer_encoding": self.transfer_encoding,
            "octets": self.octets,
            "size": self.size,
            "parts": [asdict(part) for part in self.parts],
        }

    def lines(self) -> Iterator[str]:
        """The record as lines of text."""
        yield _described(self.type or "media type: can't be parsed", self.transfer_encoding, self.octets)
        for number, part in enumerate(self.parts, 1):
            yield f"  part {number}: {_described(part.type, part.transfer_encoding, part.octets)}"
            if part.armor is not None:
                names = ", ".join(part.armor.headers) or "none"
                yield f"    armor: headers {names}, CRC {'yes' if part.armor.crc else 'no'}"
            for packet, same in groupby(part.packets):
                times = sum(1 for _ in same)
                yield f"    packet {_packet(packet)}" + (f", {times} times" if times > 1 else "")


def _type(text: str) -> str:
    kind, _, name = text.partition("/")
    if kind not in _TYPES:
        return "other"
    return text if name in _TYPES[kind] else f"{kind}/other"


def _described(content_type: str, transfer_encoding: str | None, octets: int) -> str:
    encoding = f", transfer encoding {transfer_encoding}" if transfer_encoding else ""
    return f"{content_type}{encoding}, {octets} octets"


def _packet(packet: Packet) -> str:
    version = "" if packet.version is None else f", version {packet.version}"
    length = "" if packet.length is None else f", {packet.length} octets"
    return packet_name(packet.tag) + version + length + (" in partial lengths" if packet.partial else "")
