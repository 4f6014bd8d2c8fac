"""Sinks that undo a part's transfer encoding, and parse the encrypted part: armor, or packets in Base64.

RFC 3156, 3 recommends armor without a transfer encoding, and all chat clients write that. Other mail programs
and servers may encode it in Base64 or quoted-printable, so both are accepted in incoming mail. Binary packets
without Base64 are refused: no program writes them (RFC 3156, 2 requires 7-bit data), and readable text could
be framed as a packet.
"""

from __future__ import annotations

from chatmail_milter.gate.armor import Armor
from chatmail_milter.gate.decoders import Base64, QuotedPrintable
from chatmail_milter.gate.layers import NOBODY, WHITE_SPACE, Observer, RefusedError, Sink
from chatmail_milter.gate.packets import Packets

# Transfer encodings that leave the body as it is (RFC 2045, 6.2), with none at all.
IDENTITY = frozenset(("", "7bit", "8bit", "binary"))


class ArmoredOrRaw:
    """A sink for the decoded Base64: by its first octet, feeds binary packets or armored text."""

    def __init__(self, packets: Packets, armor: Armor) -> None:
        self._packets = packets
        self._armor = armor
        self._inner: Sink | None = None

    def feed(self, data: bytes) -> None:
        if self._inner is None:
            if not data:
                return
            # RFC 9580, 4.2: the highest bit of a packet's first octet is set, and of no ASCII character.
            self._inner = self._packets if data[0] & 0x80 else self._armor
        self._inner.feed(data)

    def finish(self) -> None:
        (self._inner or self._armor).finish()


class TransferBase64:
    """A sink that decodes Base64 (RFC 2045, 6.8), without the other characters that the RFC tolerates."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._base64 = Base64(sink)
        self._padding: bytes | None = None

    def feed(self, data: bytes) -> None:
        if self._padding is None:
            end = data.find(b"=")
            if end < 0:
                self._base64.feed(data)
                return
            self._base64.feed(data[:end])
            self._padding, data = b"", data[end:]
        self._padding += data.translate(None, WHITE_SPACE)
        if self._padding not in (b"", b"=", b"=="):
            raise RefusedError("base64")

    def finish(self) -> None:
        if self._padding:
            self._base64.pad(self._padding)
        self._base64.close()
        self._sink.finish()


def decoded(transfer_encoding: str, sink: Sink, *, strict: bool) -> Sink:
    """A sink that undoes `transfer_encoding` and feeds `sink`. Raises `RefusedError` if it is not allowed.

    `strict`: allow none that changes the body. Else also `quoted-printable` and `base64`.
    """
    if transfer_encoding in IDENTITY:
        return sink
    if transfer_encoding == "quoted-printable" and not strict:
        return QuotedPrintable(sink)
    if transfer_encoding == "base64" and not strict:
        return TransferBase64(sink)
    raise RefusedError("transfer-encoding")


def payload(transfer_encoding: str, *, strict: bool, observer: Observer = NOBODY) -> Sink:
    """The sink for an encrypted part with this transfer encoding. Raises `RefusedError`.

    `strict`: refuse Base64 and quoted-printable, armor headers, and unknown non-critical packets.
    """
    packets = Packets(observer, strict=strict)
    armor = Armor(packets, headers=not strict, observer=observer)
    sink = ArmoredOrRaw(packets, armor) if transfer_encoding == "base64" else armor
    return decoded(transfer_encoding, sink, strict=strict)
