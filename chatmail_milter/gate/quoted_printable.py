"""Streaming decoder for quoted-printable (RFC 2045, 6.7). Gateways encode armor and the version part in it.

Accepts only what all programs decode alike: printable ASCII, and `=` before two hexadecimal digits or a line
end.
"""

from __future__ import annotations

import binascii
import re

from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.stream import Sink

# RFC 2045, 6.7 (5) allows 76 octets per line. Some programs write more, up to the limit of RFC 5322, 2.1.1.
_LINE_MOST = 998
_MALFORMED = re.compile(rb"=(?!\r?\n|[0-9A-Fa-f]{2})|[^\t\r\n -~]")


class QuotedPrintable:
    """A sink for the encoded text; feeds the decoded octets to `sink`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._line = b""  # the line that is not complete yet

    def feed(self, data: bytes) -> None:
        data = self._line + data
        end = data.rfind(b"\n") + 1
        self._line = data[end:]
        if len(self._line) > _LINE_MOST:
            raise RefusedError("quoted-printable")
        if end:
            self._decode(data[:end])

    def finish(self) -> None:
        if self._line:
            self._decode(self._line)
        self._sink.finish()

    def _decode(self, lines: bytes) -> None:
        if _MALFORMED.search(lines):
            raise RefusedError("quoted-printable")
        self._sink.feed(binascii.a2b_qp(lines))
