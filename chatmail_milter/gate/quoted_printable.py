"""Quoted-printable (RFC 2045, 6.7) as a stream: gateways put armor into it, and the version part.

Only what all readers decode alike: printable ASCII, two hexadecimal digits after each `=`, or a line end.
"""

from __future__ import annotations

import binascii
import re

from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.stream import Sink

# RFC 2045, 6.7 (5) has 76; RFC 5322, 2.1.1 is what no server exceeds.
_LINE_MOST = 998
_MALFORMED = re.compile(rb"=(?!\r?\n|[0-9A-Fa-f]{2})|[^\t\r\n -~]")


class QuotedPrintable:
    """A sink for the encoded text; what it says goes on to `sink`."""

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
