"""What Delta Chat's MIME builder writes, as a grammar (hypothesis): all messages that have its shape.

Read off the samples in `samples/core` and, for the forms of older cores, off their messages as peers still
send them: which fields there are and how folded, the boundary's alphabet, descriptions of parts, the armor's
line ends, checksum or none, and every kind of packet and length that the core has been seen to write.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from hypothesis import strategies as st

from tests import packets
from tests.corpus.manifest import ALICE, BOB, CAROL

# For the names and values that people choose.
_words = st.text(
    st.characters(min_codepoint=0x20, exclude_characters='"\\\x7f', exclude_categories=["C"]), max_size=30
)
_hex = st.integers(0, 2**64 - 1).map("{:x}".format)


@st.composite
def _address_header(draw: st.DrawFn) -> str:
    name = draw(st.one_of(st.none(), _words))
    if not name:
        return f"<{ALICE}>"
    if name.isascii():
        return f'"{name}" <{ALICE}>'
    # RFC 2047.
    return f"=?utf-8?B?{base64.b64encode(name.encode()).decode()}?= <{ALICE}>"


@st.composite
def _fields(draw: st.DrawFn) -> list[str]:
    to = draw(
        st.sampled_from(
            ('"hidden-recipients": ;', f"<{BOB}>", f"<{BOB}>, <{CAROL}>", f"<{BOB}>,\r\n <{CAROL}>")
        )
    )
    fields = [f"From: {draw(_address_header())}", f"To: {to}", "MIME-Version: 1.0"]
    fields += ["Date: Wed, 18 Nov 2026 12:46:30 +0000", f"Subject: {draw(st.sampled_from(('[...]', '...')))}"]
    fields += [f"Message-ID: <{draw(_hex)}@localhost>"]
    key = "keydata=" + "xjMEawNkJRYJKwYB\r\n " * draw(st.integers(1, 20))
    optional = (
        "Chat-Version: 1.0",
        "Chat-Is-Post-Message: 1",
        "References: <1@localhost>\r\n <2@localhost>",
        "In-Reply-To: <1@localhost>",
        f"Autocrypt: addr={ALICE}; prefer-encrypt=mutual;\r\n {key}",
        "Auto-Submitted: auto-generated",
        "Chat-Disposition-Notification-To: " + ALICE,
    )
    fields += draw(st.lists(st.sampled_from(optional), unique=True))
    return draw(st.permutations(fields))


@st.composite
def sealed(draw: st.DrawFn, most: int = 4000) -> bytes:
    """Packets: session keys for some recipients, or a shared secret, then one SEIPD."""
    new = draw(st.booleans())
    sizes = draw(st.lists(st.sampled_from((71, 78, 94, 268)), max_size=6))
    keys = [packets.new(packets.PKESK, bytes((6 if new else 3,)) + packets.noise(size)) for size in sizes]
    if not keys:
        keys = [packets.new(packets.SKESK, bytes((6 if new else 4,)) + packets.noise(61))]
    beginning = packets.SEIPD2_BEGINNING if new else b"\x01"
    body = beginning + packets.noise(draw(st.integers(64 if new else 40, most)))
    power = draw(st.integers(9, 12))
    partial = draw(st.booleans()) and len(body) >= 1 << power
    return b"".join(keys) + (
        packets.partial(packets.SEIPD, body, power) if partial else packets.new(packets.SEIPD, body)
    )


@st.composite
def encrypted(draw: st.DrawFn) -> bytes:
    """A whole message in PGP/MIME, as the core submits it."""
    boundary = "_".join(draw(st.lists(_hex, min_size=3, max_size=3)))
    eol = draw(st.sampled_from(("\r\n", "\n")))
    armor = packets.armored(
        draw(sealed()), crc=draw(st.booleans()), width=draw(st.sampled_from((64, 76))), eol=eol
    )
    described = draw(st.booleans())
    parts = [
        _part(
            'application/pgp-encrypted; charset="utf-8"',
            "PGP/MIME version identification",
            "Version: 1\r\n",
            described,
        ),
        _part(
            'application/octet-stream; name="encrypted.asc"; charset="utf-8"',
            "OpenPGP encrypted message",
            armor,
            described,
        ),
    ]
    typed = (
        f'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n boundary="{boundary}"'
    )
    fields = draw(_fields())
    fields.insert(draw(st.integers(0, len(fields))), typed)
    return _message(fields, parts, boundary, draw(st.sampled_from(("", "\r\n"))))


@st.composite
def secure_join(draw: st.DrawFn) -> bytes:
    """The first message of SecureJoin in clear, as a core writes it that was shown an old code."""
    step = draw(st.sampled_from(("vc-request", "vg-request")))
    boundary = "_".join(draw(st.lists(_hex, min_size=3, max_size=3)))
    fields = [*draw(_fields()), f"Secure-Join: {step}", f"Secure-Join-Invitenumber: {draw(_hex)}"]
    fields.insert(
        draw(st.integers(0, len(fields))), f'Content-Type: multipart/mixed;\r\n boundary="{boundary}"'
    )
    part = _part('text/plain; charset="utf-8"', "", f"Secure-Join: {step}", False)
    return _message(fields, [part], boundary, "\r\n")


def _part(typed: str, description: str, body: str, described: bool) -> str:
    lines = [f"Content-Type: {typed}"]
    lines += [f"Content-Description: {description}"] if described else []
    return "\r\n".join([*lines, "Content-Transfer-Encoding: 7bit", "", body])


def _message(fields: Sequence[str], parts: Sequence[str], boundary: str, around: str) -> bytes:
    body = around + "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n" + around
    return ("\r\n".join(fields) + "\r\n\r\n" + body).encode()
