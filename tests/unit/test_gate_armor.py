"""Armored text: RFC 9580, 6.2, as strict as gate.md wants it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from chatmail_milter.gate.errors import RefusedError
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
        (p.armored(PADDED[0], crc=False).replace("-----END", "H\r\n-----END"), "base64"),
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
    ["Version: ProtonMail", "Version: GnuPG v2", "Comment: https://proton.me", "Comment: ", "Version:"],
)
def test_armor_headers_pass_only_from_peers(header: str) -> None:
    text = p.armored(SEALED, headers=(header, "Comment: another"))
    assert both(text, strict=True) == "armor-header"
    assert both(text, strict=False) == "pass"


@pytest.mark.parametrize(
    "headers",
    [("Hash: SHA256",), ("Charset: utf-8",), ("Version:1",), ("Hello, Bob",), ("Comment: x",) * 9],
)
def test_other_armor_headers_never_pass(headers: tuple[str, ...]) -> None:
    assert both(p.armored(SEALED, headers=headers), strict=False) == "armor-header"


def test_raw_packets_pass_only_from_peers() -> None:
    assert both(SEALED, strict=False) == "pass"
    assert both(SEALED, strict=True) == "armor-begin"


@pytest.mark.parametrize("body", [SEALED, p.armored(SEALED).encode()], ids=["raw", "armored"])
def test_the_transfer_encoding_base64_passes_only_from_peers(body: bytes) -> None:
    text = base64.encodebytes(body)
    assert both(text, strict=False, encoding="base64") == "pass"
    assert both(text, strict=True, encoding="base64") == "transfer-encoding"
    assert both(text + b"=", strict=False, encoding="base64") == "base64"
    assert both(text + b"Hello", strict=False, encoding="base64") != "pass"


@pytest.mark.parametrize("encoding", ["quoted-printable", "x-uuencode", "7bit, 8bit"])
def test_other_transfer_encodings_never_pass(encoding: str) -> None:
    assert take(p.armored(SEALED), strict=False, encoding=encoding) == "transfer-encoding"
