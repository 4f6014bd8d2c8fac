"""Mail programs and gateways add to encrypted messages; peers may send all of it, users a part."""

from __future__ import annotations

import base64
import io
import quopri
from collections.abc import Callable

import pytest

from chatmail_milter.gate.gate import Direction, Envelope, Gate, check
from chatmail_milter.gate.message import read
from tests import messages, packets
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

ARMOR = packets.armored(packets.pkesk() + packets.seipd())
TYPED = f'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="{BOUNDARY}"'


def reasons(octets: bytes) -> tuple[str, str]:
    """The verdict on the message coming in, and submitted; it passes in pieces if it does as a whole."""
    envelope = Envelope(ALICE, (BOB,))
    found = [check(direction, envelope, octets).reason for direction in (Direction.IN, Direction.OUT)]
    for direction, whole in zip((Direction.IN, Direction.OUT), found, strict=True):
        for size in (1, 7):
            opened = read(io.BytesIO(octets))
            gate = Gate(direction, envelope, opened.header)
            body = b"".join(opened.body)
            for at in range(0, len(body), size):
                gate.feed(body[at : at + size])
            assert (gate.finish().reason == "encrypted") == (whole == "encrypted")
    return found[0], found[1]


def built(
    content_type: str = TYPED,
    version: str = VERSION_PART,
    encrypted: str = encrypted_part(ARMOR),
    preamble: str = "",
    boundary: str = BOUNDARY,
) -> bytes:
    fields = [*envelope_fields(), ("Content-Type", content_type)]
    return message(fields, multipart([version, encrypted], boundary, preamble))


@pytest.mark.parametrize(
    "text",
    [
        "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n",
        "This is an OpenPGP/MIME encrypted message (RFC 2440 and 3156)\r\n",
        "This is an OpenPGP/MIME encrypted message (RFC 3156).\r\n\r\n",
        "This is an OpenPGP/MIME encrypted message.\r\n",
        "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n"
        "This message was encrypted with pEp https://pEp-project.org\r\n\r\n",
        "This message is in MIME format and has been PGP encrypted.\r\n\r\n",
        "This is a multi-part message in MIME format.\r\n",
        "This is a multipart message in MIME format.\r\n",
        "\r\nThis is a multi-part message in MIME format...\r\n\r\n",
    ],
)
def test_a_preamble_that_programs_write(text: str) -> None:
    assert reasons(built(preamble=text)) == ("encrypted", "encrypted")
    assert reasons(built(preamble=text).replace(b"\r\n", b"\n")) == ("encrypted", "encrypted")


@pytest.mark.parametrize(
    "text",
    [
        "This is an OpenPGP/MIME encrypted message\r\n",
        "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156) Meet me at nine.\r\n",
        "This is a multi-part message in MIME format.\r\nMeet me at nine.\r\n",
        "Meet me at nine.\r\nThis is a multi-part message in MIME format.\r\n",
        "This is a multi-part message in MIME format.\r\n" * 2,
        "THIS IS A MULTI-PART MESSAGE IN MIME FORMAT.\r\n",
        "This is a multi-part message in MIME format.",
        "This is a multi-part\r\nmessage in MIME format.\r\n",
        "This is a multi-part message in MIME format.\0\r\n",
        "This is a multi-part message in MIME format.\r\n" + " " * 300 + "\r\n",
        "x" * 300,
    ],
)
def test_and_no_other(text: str) -> None:
    assert reasons(built(preamble=text)) == ("preamble", "preamble")


def test_a_preamble_is_for_encrypted_messages() -> None:
    octets = messages.secure_join(preamble="This is a multi-part message in MIME format.\r\n")
    assert reasons(octets) == ("preamble", "preamble")


def test_nor_may_it_come_after() -> None:
    octets = built() + b"This is a multi-part message in MIME format.\r\n"
    assert reasons(octets) == ("epilogue", "epilogue")


# mutt, Apple Mail, Outlook, Gmail, Thunderbird, KMail.
@pytest.mark.parametrize(
    "boundary",
    [
        "7uYPyRQQ5N0D02nI",
        "2/5bycvrmDh4d1IB",
        "FCuugMFkClbJLl1L+aX",
        "Apple-Mail=_4B0EB3E3-14FB-4C4F-8E2E-8A1C9A1E7B1D",
        "_000_DB7PR04MB4313F1B2C3=DB7PR04MB4313eurp_",
        "=_7c9b2f4e",
        "----=_Part_1_2.3",
        "------------A1b2'()+_,-./:=?Z",
        "x" * 70,
    ],
)
def test_a_boundary_of_the_characters_that_rfc_2046_names(boundary: str) -> None:
    octets = built(f'multipart/encrypted; boundary="{boundary}"', boundary=boundary)
    assert reasons(octets) == ("encrypted", "encrypted")


@pytest.mark.parametrize(
    "boundary", ["a b", "a\\\\b", 'a\\"b', "a;b", "a@b", "a<b", "a*b", "a%b", "a{b", "x" * 71, ""]
)
def test_and_of_no_others(boundary: str) -> None:
    real = boundary.replace('\\"', '"').replace("\\\\", "\\")
    octets = built(f'multipart/encrypted; boundary="{boundary}"', boundary=real)
    assert reasons(octets) == ("boundary", "boundary")


@pytest.mark.parametrize(
    ("content_type", "outgoing"),
    [
        (f"multipart/encrypted; protocol=application/pgp-encrypted; boundary={BOUNDARY}", "content-type"),
        (TYPED.replace("; protocol", " (PGP/MIME); protocol"), "content-type"),
        (TYPED.replace("; protocol", " (a) (b)\r\n\t(c) ; protocol"), "content-type"),
        (TYPED.replace("; boundary", " (1.0); (x) boundary"), "content-type"),
        (TYPED + " (the end)", "content-type"),
        (TYPED + '; name="a (1; x=y).asc"', "encrypted"),
        (f'multipart/encrypted; boundary*0="{BOUNDARY[:4]}"; boundary*1={BOUNDARY[4:]}', "boundary"),
        (f"multipart/encrypted; boundary*1={BOUNDARY[4:]};\r\n boundary*0={BOUNDARY[:4]}", "boundary"),
        (f"multipart/encrypted; boundary*=us-ascii''{BOUNDARY}", "boundary"),
        (f"multipart/encrypted; boundary*=utf-8'en'%65{BOUNDARY[1:]}", "boundary"),
        (f"multipart/encrypted; boundary*=''{BOUNDARY}", "boundary"),
        (
            f"multipart/encrypted; boundary*0*=utf-8''%65{BOUNDARY[1:4]}; boundary*1={BOUNDARY[4:]}",
            "boundary",
        ),
        (f"multipart/encrypted; boundary*0={BOUNDARY}", "boundary"),
        (f'multipart/encrypted; protected-headers="v1"; hp=cipher; boundary="{BOUNDARY}"', "encrypted"),
    ],
)
def test_a_content_type_that_only_some_read_alike(content_type: str, outgoing: str) -> None:
    assert reasons(built(content_type)) == ("encrypted", outgoing)


@pytest.mark.parametrize(
    "content_type",
    [
        TYPED.replace("; protocol", " (; boundary=other); protocol"),
        TYPED.replace("; protocol", " (boundary=other); protocol"),
        TYPED.replace("; protocol", " ((nested)); protocol"),
        TYPED.replace("; protocol", " (open; protocol"),
        TYPED.replace("; protocol", " (\\)); protocol"),
        TYPED.replace("; protocol", ' ("); protocol'),
        TYPED.replace("; protocol", f" ({'x' * 65}); protocol"),
        TYPED.replace("multipart/", "multipart(x)/"),
        "(x) " + TYPED,
        f"multipart/encrypted; boundary={BOUNDARY}; boundary*0=other",
        f"multipart/encrypted; boundary*0={BOUNDARY[:4]}; boundary*2={BOUNDARY[4:]}",
        f"multipart/encrypted; boundary*0={BOUNDARY[:4]}; boundary*1={BOUNDARY[4:]}; boundary*1*=x",
        f"multipart/encrypted; boundary*01={BOUNDARY}",
        f"multipart/encrypted; boundary*={BOUNDARY}",
        f"multipart/encrypted; boundary*=us-ascii''{BOUNDARY}%0A",
        f"multipart/encrypted; boundary*=us-ascii''{BOUNDARY}%",
        f"multipart/encrypted; boundary*1={BOUNDARY}",
        "multipart/encrypted; " + "; ".join(f"boundary*{at}=a" for at in range(11)),
        TYPED + '; x="' + "y" * 1024 + '"',
        TYPED + "; " + "x" * 33 + "=y",
        TYPED + "".join(f"; x{at}=y" for at in range(15)),
    ],
)
def test_a_content_type_that_could_hide_something(content_type: str) -> None:
    assert set(reasons(built(content_type))) <= {"content-type", "boundary"}


@pytest.mark.parametrize(
    "text",
    ["version: 1", "VERSION: 1", "Version:1", "Version:  1", "Version : 1", "Version:\t1 \r\n\r\n"],
)
def test_other_spellings_of_the_version(text: str) -> None:
    octets = built(version=part("application/pgp-encrypted", text + "\r\n"))
    assert reasons(octets) == ("encrypted", "version-part")


@pytest.mark.parametrize(
    "text", ["Version: 2", "Version: 11", "Version 1", "Version: 1.0", "V: 1", "ersion: 1", ""]
)
def test_other_versions(text: str) -> None:
    octets = built(version=part("application/pgp-encrypted", text + "\r\n"))
    assert reasons(octets) == ("version-part", "version-part")


def _base64(text: str) -> str:
    return base64.encodebytes(text.encode()).decode().replace("\n", "\r\n")


def _quoted(text: str) -> str:
    return quopri.encodestring(text.replace("\r\n", "\n").encode()).decode().replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("base64", _base64),
        ("BASE64", _base64),
        ("quoted-printable", _quoted),
        ("Quoted-Printable (armor)", _quoted),
        ("7bit (ascii)", str),
    ],
)
def test_a_transfer_encoding_on_either_part(name: str, encode: Callable[[str], str]) -> None:
    field = f"Content-Transfer-Encoding: {name}"
    version = part("application/pgp-encrypted", encode("Version: 1\r\n"), field)
    encrypted = encrypted_part(encode(ARMOR), field)
    for octets in (
        built(version=version),
        built(encrypted=encrypted),
        built(version=version, encrypted=encrypted),
    ):
        assert reasons(octets) == ("encrypted", "transfer-encoding")


@pytest.mark.parametrize(
    "name", ["x-uuencode", "base64 (x", "base64 base64", "(x) base64", "7bit; x=y", "7" * 200]
)
def test_and_no_other_encoding(name: str) -> None:
    for octets in (
        built(version=part("application/pgp-encrypted", "Version: 1", f"Content-Transfer-Encoding: {name}")),
        built(encrypted=encrypted_part(ARMOR, f"Content-Transfer-Encoding: {name}")),
    ):
        assert reasons(octets) == ("transfer-encoding", "transfer-encoding")


def test_what_is_encoded_is_checked_like_what_is_not() -> None:
    quoted = "Content-Transfer-Encoding: quoted-printable"
    text = part("application/pgp-encrypted", "Version: 1\r\n\r\nMeet me at nine.", quoted)
    assert reasons(built(version=text))[0] == "version-part"
    for prose in ("Meet me at nine.\r\n" + ARMOR, ARMOR + "Meet me at nine.\r\n", "Meet me at nine."):
        assert reasons(built(encrypted=encrypted_part(_quoted(prose), quoted)))[0] != "encrypted"


# Gmail, Exchange, Zimbra, mailing lists.
@pytest.mark.parametrize(
    "fields",
    [
        "X-Attachment_Id: f_m1abc2de0\r\n",
        "X-Attachment-Id: f_m1abc2de0\r\nContent-ID: <f_m1abc2de0>\r\n",
        "X-Zimbra.Something: yes\r\n",
        'Content-Disposition: attachment; filename=a; size=4242;\r\n\tcreation-date="Sat, 28 Nov 2026"\r\n',
        "Content-Language: de\r\nContent-Description:\r\n",
    ],
)
def test_fields_of_a_part(fields: str) -> None:
    assert reasons(built(encrypted=fields + encrypted_part(ARMOR))) == ("encrypted", "encrypted")


@pytest.mark.parametrize(
    "fields",
    [
        "X-Text: " + "x" * 2048 + "\r\n",
        "X: Meet me at nine.\r\n" * 100,
        "X" * 65 + ": y\r\n",
        "X Y: z\r\n",
        f"--{BOUNDARY}x: y\r\n",
        "-X: y\r\n",
        "_X: y\r\n",
        "X@Y: z\r\n",
    ],
)
def test_fields_of_a_part_that_carry_text_or_confuse(fields: str) -> None:
    assert reasons(built(encrypted=fields + encrypted_part(ARMOR))) in {
        ("part-header",) * 2,
        ("boundary-line",) * 2,
    }
    assert reasons(built(version=fields + VERSION_PART))[0] != "encrypted"


def test_a_private_packet_and_padding_before_the_seipd() -> None:
    for extra, outgoing in (
        (packets.new(60, b"hi"), "packets-tag-60"),
        (packets.new(21, b"hi"), "encrypted"),
    ):
        armor = packets.armored(extra + packets.pkesk() + packets.seipd())
        assert reasons(built(encrypted=encrypted_part(armor))) == ("encrypted", outgoing)


def test_padding_after_the_seipd_is_refused() -> None:
    # docs/gate.md: OpenPGP pads inside of the SEIPD, and what follows it is read by no two programs alike.
    armor = packets.armored(packets.pkesk() + packets.seipd() + packets.new(21, packets.noise(20)))
    assert reasons(built(encrypted=encrypted_part(armor))) == ("packets-after-seipd",) * 2


def test_an_obsolete_session_key_is_refused() -> None:
    armor = packets.armored(packets.pkesk(2) + packets.seipd())
    assert reasons(built(encrypted=encrypted_part(armor))) == ("packets-version-1",) * 2


def test_prose_framed_as_a_seipd_is_refused_in_every_wrapping() -> None:
    prose = b"Dear Bob, meet me at nine behind the old mill. " * 20
    octets = packets.pkesk() + packets.new(packets.SEIPD, b"\x01" + prose)
    raw = encrypted_part("RAW", "Content-Transfer-Encoding: binary")
    body = built(encrypted=raw).replace(b"RAW", octets)
    assert reasons(body) == ("armor-begin",) * 2
    encoded = encrypted_part(base64.encodebytes(octets).decode(), "Content-Transfer-Encoding: base64")
    assert reasons(built(encrypted=encoded)) == ("packets-readable", "transfer-encoding")
    assert reasons(built(encrypted=encrypted_part(packets.armored(octets)))) == ("packets-readable",) * 2
