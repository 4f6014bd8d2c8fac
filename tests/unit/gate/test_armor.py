"""ASCII armor (RFC 9580, 6.2), as strict as docs/gate.md demands."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Callable
from typing import Any

import pytest

from chatmail_milter.gate.layers import RefusedError
from chatmail_milter.gate.payload import payload
from tests import packets as p

SEALED = p.pkesk() + p.seipd()
# Its Base64 ends in one `=`, in two, in none.
PADDED = {(-(len(SEALED) + more) % 3): p.pkesk() + p.seipd(size=300 + more) for more in range(3)}


def take(text: str | bytes, *, strict: bool = True, encoding: str = "7bit", chunk: int = 1 << 20) -> str:
    """`pass`, or the reason of the refusal."""
    octets = text.encode("latin-1") if isinstance(text, str) else text
    try:
        sink = payload(encoding, strict=strict)
        for at in range(0, len(octets), chunk):
            sink.feed(octets[at : at + chunk])
        sink.finish()
    except RefusedError as refusal:
        return refusal.reason
    return "pass"


def both(text: str | bytes, **how: Any) -> str:
    """The answer, which must not depend on how the text comes."""
    whole = take(text, **how)
    for chunk in (1, 2, 3, 63, 64, 65, 66):
        assert (take(text, chunk=chunk, **how) == "pass") == (whole == "pass")
    return whole


@pytest.mark.parametrize("padding", PADDED)
@pytest.mark.parametrize("crc", [True, False])
@pytest.mark.parametrize("eol", ["\r\n", "\n"])
@pytest.mark.parametrize("width", [64, 76, 4, 5, 100_000])
def test_passes_however_it_is_broken_into_lines(padding: int, crc: bool, eol: str, width: int) -> None:
    assert both(p.armored(PADDED[padding], crc=crc, eol=eol, width=width)) == "pass"


@pytest.mark.parametrize("around", ["\r\n\r\n", " \t\r\n", "\n" * 100_000])
def test_white_space_around_it_is_allowed(around: str) -> None:
    assert take(around + p.armored(SEALED) + around) == "pass"


def test_the_checksum_is_not_computed() -> None:
    # RFC 9580, 6.1: "MUST NOT reject an OpenPGP object when the CRC24 footer is [...] invalid".
    right = p.armored(SEALED)
    assert both(right[: right.rindex("\r\n=") + 3] + "AAAA\r\n-----END PGP MESSAGE-----\r\n") == "pass"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "armor-truncated"),
        ("\r\n", "armor-truncated"),
        ("Hello", "armor-begin"),
        ("Hello\r\n" + p.armored(SEALED), "armor-begin"),
        (p.armored(SEALED) + "Hello\r\n", "armor-after"),
        (p.armored(SEALED) + p.armored(SEALED), "armor-after"),
        (p.armored(SEALED, kind="PGP SIGNED MESSAGE"), "armor-begin"),
        (p.armored(SEALED, kind="PGP PUBLIC KEY BLOCK"), "armor-begin"),
        (p.armored(SEALED).removesuffix("-----END PGP MESSAGE-----\r\n"), "armor-truncated"),
        (p.armored(SEALED).replace("\r\n\r\n", "\r\n", 1), "armor-header"),
        (p.armored(SEALED).replace("MESSAGE-----\r\n\r", "MESSAGE----- x\r\n\r", 1), "armor-begin"),
        (p.armored(SEALED).replace("-----END", " -----END"), "armor-end"),
        (p.armored(PADDED[0], crc=False).replace("-----END", "H\r\n-----END"), "base64-lines"),
        (p.armored(SEALED).replace("-----END", "Hello\r\n-----END"), "armor-end"),
        (p.armored(SEALED).replace("-----END", "=AAAA\r\n-----END"), "armor-end"),
        (p.armored(SEALED).replace("\r\n=", "=\r\n="), "base64"),
        (p.armored(SEALED).replace("\r\n=", "=====\r\n="), "base64"),
        (p.armored(SEALED).replace("AA", "A!", 1).replace("a", "\xe4", 1), "base64"),
        (p.armored(SEALED).replace("b", "\0", 1), "base64"),
        (p.armored(SEALED).replace("4=", "=", 1), "base64"),
        (p.armored(b""), "packets-no-seipd"),
        (p.armored(b"Hello"), "packets-malformed"),
    ],
)
def test_refuses_everything_else(text: str, reason: str) -> None:
    assert both(text) == reason


@pytest.mark.parametrize("line", ["=" * 5_000_000, "=\r\n" * 2_000_000, "\r\n" * 3_000_000, " " * 1_000_000])
def test_endless_padding_is_refused(line: str) -> None:
    text = p.armored(SEALED, crc=False).replace("-----END", line + "-----END")
    assert take(text, chunk=65535) in ("base64", "armor-line", "armor-lines", "armor-end")


@pytest.mark.parametrize(
    "header",
    [
        "Version: ProtonMail",
        "Version: GnuPG v2",
        "Comment: Using GnuPG with Thunderbird - https://www.enigmail.net/",
        "Comment: ",
        "Version:",
        "Charset: utf-8",
        "Hash: SHA256",
        "MessageID: abcdefghijklmnopqrstuvwxyz012345",
        "Comment: " + "x" * 80,
    ],
)
def test_armor_headers_pass_only_from_peers(header: str) -> None:
    other = "Version: x" if header.startswith("Comment") else "Comment: another"
    text = p.armored(SEALED, headers=(header, other))
    assert both(text, strict=True) == "armor-header"
    assert both(text, strict=False) == "pass"


@pytest.mark.parametrize(
    "headers",
    [
        ("Comment: x",) * 6,
        ("Version: 1", "Charset: utf-8", *("Comment: x",) * 4),
        ("Comment: " + "x" * 81,),
        ("Version:1",),
        ("version: 1",),
        ("Hello, Bob",),
        ("Subject: nine",),
    ],
)
def test_other_armor_headers_never_pass(headers: tuple[str, ...]) -> None:
    assert both(p.armored(SEALED, headers=headers), strict=False) == "armor-header"


@pytest.mark.parametrize(
    "headers",
    [("Comment: x",) * 5, ("Version: GnuPG v2", "Comment: Using GnuPG", "Comment: https://a.example")],
)
def test_a_comment_may_come_again(headers: tuple[str, ...]) -> None:
    assert both(p.armored(SEALED, headers=headers), strict=False) == "pass"


@pytest.mark.parametrize("encoding", ["", "7bit", "8bit", "binary"])
def test_packets_that_are_not_armored_never_pass(encoding: str) -> None:
    assert both(SEALED, strict=False, encoding=encoding) == "armor-begin"
    assert both(SEALED, strict=True, encoding=encoding) == "armor-begin"


def test_nor_do_they_in_quoted_printable() -> None:
    assert both(quopri.encodestring(SEALED), strict=False, encoding="quoted-printable") == "armor-begin"


def test_quoted_printable_passes_only_from_peers() -> None:
    armored = p.armored(SEALED, eol="\n")
    for text in (quopri.encodestring(armored.encode()), armored.replace("=", "=3d").encode()):
        for eol in (b"\n", b"\r\n"):
            quoted = text.replace(b"\n", eol)
            assert both(quoted, strict=False, encoding="quoted-printable") == "pass"
            assert both(quoted, strict=True, encoding="quoted-printable") == "transfer-encoding"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("=3D", "="),
        ("=3D", "=3"),
        ("=3D", "=G0"),
        ("\r\n=3D", "=\r\n=3D"),
        ("=3D", "=\r=3D"),
        ("=3D", "= \r\n=3D"),
        ("-----BEGIN", "\xe4-----BEGIN"),
        ("-----BEGIN", "=E4-----BEGIN"),
        ("-----BEGIN", "=00-----BEGIN"),
        ("MESSAGE-----\r\n\r\n", "MESSAGE-----\r\n\r\nMeet me=20at=20nine.\r\n"),
        ("-----END PGP MESSAGE-----\r\n", "-----END PGP MESSAGE-----\r\nnine=\r\n"),
        ("-----END PGP MESSAGE-----\r\n", "-----END PGP MESSAGE-----="),
    ],
)
def test_malformed_quoted_printable_is_refused(old: str, new: str) -> None:
    text = p.armored(SEALED).replace("=", "=3D")
    assert old in text
    assert both(text.replace(old, new, 1), strict=False, encoding="quoted-printable") != "pass"


def test_a_line_of_quoted_printable_has_an_end() -> None:
    flood = "=41" * 1_000_000
    assert take(flood, strict=False, encoding="quoted-printable", chunk=65535) == "quoted-printable"


LINES = p.armored(p.pkesk() + p.seipd(size=1000)).split("\r\n")
LAST = LINES.index("-----END PGP MESSAGE-----") - 2  # the last line of Base64


def in_lines(change: Callable[[list[str]], None]) -> str:
    lines = list(LINES)
    change(lines)
    return "\r\n".join(lines)


def put(at: int, text: str) -> Callable[[list[str]], None]:
    return lambda lines: lines.__setitem__(at, text)


@pytest.mark.parametrize("strict", [True, False], ids=["submitted", "from peers"])
@pytest.mark.parametrize("line", [2, 3, 8, LAST - 1, LAST])
@pytest.mark.parametrize("space", [" ", "\t", "\r", "\r\n", "\n", "\x0c"])
@pytest.mark.parametrize("at", [1, 30])
def test_white_space_within_a_line_is_refused(strict: bool, line: int, space: str, at: int) -> None:
    text = LINES[line][:at] + space + LINES[line][at:]
    assert both(in_lines(put(line, text)), strict=strict).startswith(("base64", "armor-end"))


@pytest.mark.parametrize("line", [2, 3, 8, LAST])
@pytest.mark.parametrize("around", [" {}", "\t{}", "{} ", "{}\t"])
def test_nor_does_it_pass_around_a_line(line: int, around: str) -> None:
    # After padding, the line is one of the armor's own, and its white space means nothing.
    padded = "=" in LINES[line] and around.startswith("{}")
    assert (both(in_lines(put(line, around.format(LINES[line])))) == "pass") == padded


@pytest.mark.parametrize("line", [2, 3, 8, LAST - 1])
def test_lines_of_other_lengths_are_refused(line: int) -> None:
    def move(count: int) -> Callable[[list[str]], None]:
        def change(lines: list[str]) -> None:
            both_lines = lines[line] + lines[line + 1]
            lines[line], lines[line + 1] = both_lines[:count], both_lines[count:]

        return change

    for count in (1, 4, 60, 63, 65, 68):
        assert both(in_lines(move(count))) == "base64-lines"


@pytest.mark.parametrize("blank", ["", " ", "\t"])
@pytest.mark.parametrize("line", [3, 8, LAST])
def test_a_blank_line_in_the_base64_is_refused(blank: str, line: int) -> None:
    assert both(in_lines(lambda lines: lines.insert(line, blank))) == "base64-lines"


def test_mixed_line_ends_are_refused() -> None:
    assert both("\r\n".join(LINES[:5]) + "\n" + "\r\n".join(LINES[5:])) == "base64-lines"


@pytest.mark.parametrize("width", [64, 76])
def test_words_in_base64_are_refused(width: int) -> None:
    # Every word is Base64, and the packet that they are is as long as it says.
    words = "Meet me at nine behind the old mill and bring all that you found there " * 8
    begun = base64.b64encode(b"\xd2\xff" + (3 * 200).to_bytes(4, "big") + b"\x01\0\0").decode()
    bare = (begun + words.replace(" ", ""))[: len(begun) + 800 - 4]
    spaced = begun + words[: len(bare)]
    for text in (spaced, "\r\n".join((begun, *words.split()))):
        armor = f"-----BEGIN PGP MESSAGE-----\r\n\r\n{text}\r\n-----END PGP MESSAGE-----\r\n"
        assert both(armor) == "base64-lines" or both(armor) == "base64"


@pytest.mark.parametrize("body", [SEALED, p.armored(SEALED).encode()], ids=["raw", "armored"])
def test_the_transfer_encoding_base64_passes_only_from_peers(body: bytes) -> None:
    text = base64.encodebytes(body)
    assert both(text, strict=False, encoding="base64") == "pass"
    assert both(text, strict=True, encoding="base64") == "transfer-encoding"
    assert both(text + b"=", strict=False, encoding="base64") == "base64"
    assert both(text + b"Hello", strict=False, encoding="base64") != "pass"
    lines = text.split(b"\n")
    spaced = b"\n".join([lines[0], lines[1][:9] + b" " + lines[1][9:], *lines[2:]])
    assert both(spaced, strict=False, encoding="base64") == "base64-lines"
    ragged = b"\n".join([lines[0][:9], lines[0][9:] + lines[1], *lines[2:]])
    assert both(ragged, strict=False, encoding="base64") == "base64-lines"


@pytest.mark.parametrize("encoding", ["x-uuencode", "7bit, 8bit", "base64, 7bit"])
def test_other_transfer_encodings_never_pass(encoding: str) -> None:
    assert take(p.armored(SEALED), strict=False, encoding=encoding) == "transfer-encoding"
