"""The body of the encrypted part: armored text, or from peers also raw packets, and its transfer encoding.

RFC 3156, 3 recommends armor without a transfer encoding, and so every chat client writes it. Other mail
programs and the servers between them may turn it into Base64, so that is understood of incoming mail.
"""

from __future__ import annotations

from chatmail_milter.gate.armor import Armor
from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.observer import NOBODY, Observer
from chatmail_milter.gate.packets import Packets
from chatmail_milter.gate.stream import WHITE_SPACE, Base64, Sink

# RFC 2045, 6.2: these three, and none at all, leave a body as it is.
IDENTITY = frozenset(("", "7bit", "8bit", "binary"))


class Payload:
    """A sink for the decoded body. `strict`: no armor headers, no raw packets."""

    def __init__(self, *, strict: bool, observer: Observer = NOBODY) -> None:
        self._strict = strict
        self._observer = observer
        self._inner: Sink | None = None

    def feed(self, data: bytes) -> None:
        if self._inner is None:
            if not data:
                return
            # RFC 9580, 4.2: the highest bit of a packet's first octet is set, and of no ASCII character.
            raw = data[0] & 0x80 and not self._strict
            packets = Packets(self._observer)
            self._inner = (
                packets if raw else Armor(packets, headers=not self._strict, observer=self._observer)
            )
        self._inner.feed(data)

    def finish(self) -> None:
        if self._inner is None:
            raise RefusedError("armor-truncated")
        self._inner.finish()


class TransferBase64:
    """A sink for a body in the transfer encoding Base64 (RFC 2045, 6.8), without its liberties."""

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


def payload(transfer_encoding: str, *, strict: bool, observer: Observer = NOBODY) -> Sink:
    """The sink for an encrypted part with this transfer encoding. Raises `RefusedError`."""
    if transfer_encoding in IDENTITY:
        return Payload(strict=strict, observer=observer)
    if transfer_encoding == "base64" and not strict:
        return TransferBase64(Payload(strict=strict, observer=observer))
    raise RefusedError("transfer-encoding")
