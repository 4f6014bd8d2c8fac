"""Cleartext, inserted in any place and form of a message that passes, makes the gate refuse it."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatmail_milter.gate.gate import Direction, Envelope, check
from tests import packets
from tests.messages import (
    ALICE,
    BOB,
    BOUNDARY,
    VERSION_PART,
    encrypted_part,
    envelope_fields,
    message,
    multipart,
    part,
)

ENVELOPE = Envelope(ALICE, (BOB,))
SEALED = packets.pkesk() + packets.seipd()
ARMOR = packets.armored(SEALED)
HEADER = [*envelope_fields(), ("Content-Type", f'multipart/encrypted; boundary="{BOUNDARY}"')]
HELLO = b"b\0\0\0\0\0Meet me at nine."

directions = st.sampled_from(Direction)

# Text that is not white space, and that isn't Base64 either: somebody could read it.
clear_text = st.one_of(
    st.sampled_from(
        ("Meet me at nine.", "<p>nine</p>", "a\r\nb: c\r\n\r\nnine.", "--inner\r\n\r\nnine.", "- nine", "\0")
    ),
    st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=80),
).filter(
    lambda text: any(c not in " \t" and not (c.isascii() and c.isalnum()) and c not in "+/=" for c in text)
)


def passes(direction: Direction, body: str) -> bool:
    return check(direction, ENVELOPE, message(HEADER, body)).code == 250


def with_armor(armor: str) -> str:
    return multipart([VERSION_PART, encrypted_part(armor)])


def test_what_the_text_is_put_into_passes() -> None:
    assert passes(Direction.OUT, with_armor(ARMOR))


@given(directions, clear_text, st.integers(0, len(ARMOR)))
@settings(max_examples=150)
def test_text_inside_the_armor(direction: Direction, text: str, at: int) -> None:
    # Comments are the one thing that peers may write there.
    comment = text.startswith(("Version:", "Comment:")) and direction is Direction.IN
    assert comment or not passes(direction, with_armor(ARMOR[:at] + text + ARMOR[at:]))


# Lines of the armor counted from its beginning or its end, and what text there may follow or precede.
@given(
    directions,
    clear_text,
    st.sampled_from((0, 1, 2, -3, -2, -1)),
    st.booleans(),
    st.sampled_from(("", " ", "\t", "\r")),
)
@settings(max_examples=150)
def test_text_on_a_line_of_the_armor(
    direction: Direction, text: str, line: int, after: bool, gap: str
) -> None:
    lines = ARMOR.split("\r\n")[:-1]
    lines[line] = lines[line] + gap + text if after else text + gap + lines[line]
    comment = text.startswith(("Version:", "Comment:")) and direction is Direction.IN
    assert comment or not passes(direction, with_armor("\r\n".join([*lines, ""])))


def _beside(text: str, place: int, typed: str) -> str:
    parts = [VERSION_PART, encrypted_part(ARMOR)]
    parts.insert(place, part(typed, text))
    return multipart(parts)


def _nested(text: str, place: int, typed: str) -> str:
    inner = multipart([part(typed, text)], "inner")
    return _beside(inner, place, "multipart/mixed; boundary=inner")


def _inside(text: str, place: int, typed: str) -> str:
    parts = [VERSION_PART, encrypted_part(ARMOR)]
    parts[place % 2] += f"\r\n--inner\r\nContent-Type: {typed}\r\n\r\n{text}\r\n--inner--\r\n"
    return multipart(parts)


def _instead(text: str, place: int, typed: str) -> str:
    parts = [VERSION_PART, encrypted_part(ARMOR)]
    parts[place % 2] = part(typed, text)
    return multipart(parts)


def _encoded(text: str, place: int, typed: str) -> str:
    clear = base64.b64encode(text.encode("utf-8", "replace")).decode()
    parts = [VERSION_PART, encrypted_part(ARMOR)]
    parts[place % 2] = part(typed, clear, "Content-Transfer-Encoding: base64")
    return multipart(parts)


@pytest.mark.slow
@given(
    directions,
    clear_text,
    st.sampled_from((_beside, _nested, _inside, _instead, _encoded)),
    st.integers(0, 2),
    st.sampled_from(
        ("text/plain", "text/html", "application/octet-stream", "application/pgp-encrypted", "message/rfc822")
    ),
)
@settings(max_examples=200)
def test_text_in_a_part(
    direction: Direction, text: str, put: Callable[[str, int, str], str], place: int, typed: str
) -> None:
    assert not passes(direction, put(text, place, typed))


@pytest.mark.slow
@given(
    directions,
    clear_text,
    st.sampled_from(("preamble", "epilogue")),
    st.sampled_from(("\r\n", "\n", "\r", "")),
)
@settings(max_examples=200)
def test_text_around_the_parts(direction: Direction, text: str, place: str, eol: str) -> None:
    body = multipart([VERSION_PART, encrypted_part(ARMOR)], **{place: text + eol})
    assert not passes(direction, body)


READABLE = {
    "literal": packets.new(packets.LITERAL, HELLO),
    "literal-legacy": packets.legacy(packets.LITERAL, HELLO, 0),
    "literal-until-the-end": packets.legacy(packets.LITERAL, HELLO, 3),
    "literal-in-partial-lengths": packets.partial(packets.LITERAL, HELLO * 100, 9),
    "compressed": packets.new(packets.COMPRESSED, b"\0" + packets.new(packets.LITERAL, HELLO)),
    "signature": packets.new(packets.SIGNATURE, b"\x04" + packets.noise(60)),
    "bare-text": HELLO[6:],
}


@pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.value)
@pytest.mark.parametrize("readable", READABLE.values(), ids=READABLE)
@pytest.mark.parametrize("where", ["before", "between", "after", "after-partial", "alone"])
@pytest.mark.parametrize("crc", [True, False], ids=["crc", "no-crc"])
def test_readable_packets(direction: Direction, readable: bytes, where: str, crc: bool) -> None:
    long = packets.partial(packets.SEIPD, b"\x01" + packets.noise(1500), 9)
    octets = {
        "before": readable + SEALED,
        "between": packets.pkesk() + readable + packets.seipd(),
        "after": SEALED + readable,
        "after-partial": packets.pkesk() + long + readable,
        "alone": readable,
    }[where]
    assert not passes(direction, with_armor(packets.armored(octets, crc=crc)))
    body = base64.b64encode(octets).decode()
    encoded = multipart([VERSION_PART, encrypted_part(body, "Content-Transfer-Encoding: base64")])
    assert not passes(direction, encoded)
