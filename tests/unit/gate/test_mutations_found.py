"""Messages that once passed the gate although other parsers read them differently; mutation found them."""

from __future__ import annotations

import pytest

from chatmail_milter.gate.gate import Direction, Envelope, Kind, check
from tests import messages, packets
from tests.messages import ALICE, BOB

SEALED = messages.sealed(packets.pkesk() + packets.seipd())
BOUNDARY = messages.BOUNDARY.encode()

# What to replace in a message that passes, once, and by what.
FOUND = {
    # Python's `email` ends a line at the CR, so the part has no header and its header is its text.
    "a stray CR on the boundary's line": (b"--" + BOUNDARY + b"\r\n", b"--" + BOUNDARY + b"\r\r\n"),
    # And so the rest of the field is the part's text, or another type.
    "text after a CR in a part's header": (b"PGP/MIME version identification", b"a\r\rMeet me at nine."),
    "a field after a CR in a part's header": (
        b"PGP/MIME version identification",
        b"a\rContent-Type: text/html",
    ),
    # Folding is CRLF and white space; a CR alone once was nothing at all.
    "a stray CR in the type": (b"multipart/encrypted", b"multipart/encry\rpted"),
    # Some undo every quoted pair, some only those of a backslash and a quote: they see other boundaries.
    "a quoted pair in the boundary": (b'boundary="', b'boundary="\\'),
}


def verdict(direction: Direction, octets: bytes) -> str:
    return check(direction, Envelope(ALICE, (BOB,)), octets).reason


@pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.value)
@pytest.mark.parametrize(("old", "new"), FOUND.values(), ids=FOUND)
def test_is_refused(direction: Direction, old: bytes, new: bytes) -> None:
    assert verdict(direction, SEALED) == Kind.ENCRYPTED.value
    assert old in SEALED
    assert verdict(direction, SEALED.replace(old, new, 1)) != Kind.ENCRYPTED.value
