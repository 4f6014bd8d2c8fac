"""MIME header fields made wrong on purpose: odd ones, other boundaries, types and transfer encodings."""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Sequence
from random import Random

# What can be read, or looks as if it belonged there.
CLEAR: tuple[bytes, ...] = (
    b"Meet me at nine.",
    b"<p>Meet me at nine</p>",
    b"MeetMeAtNine",
    b"=4D=65=65=74 me",
    b"TWVldCBtZSBhdCBuaW5lLg==",
    "Grüße um neun".encode(),
    b"-----BEGIN PGP MESSAGE-----",
    b"Version: 1",
    b"Comment: Meet me at nine.",
)
TYPES = (
    b"text/plain",
    b"text/html; charset=utf-8",
    b"application/octet-stream",
    b"application/pgp-encrypted",
    b"application/pgp-signature",
    b"message/rfc822",
    b"multipart/mixed; boundary=inner",
    b"multipart/encrypted; boundary=inner",
    b"image/png",
)


_FIELDS = (
    b"Content-Type: text/plain",
    b"content-type : text/html",
    b"Content-Type: multipart/mixed; boundary=inner",
    b"Content-Type:",
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: quoted-printable",
    b"Content-Transfer-Encoding: x-uuencode",
    b"Content-Transfer-Encoding: 7bit\r\n base64",
    b"Content-Disposition: inline; filename=a.txt",
    b"Content-Description: a\rContent-Type: text/plain",
    b"Content-Description: a\r\rMeet me at nine.",
    b"Content-Description: \r\n \r\nMeet me at nine.",
    b"Secure-Join: vc-request",
    b"Subject: Autocrypt Setup Message",
    b"Auto-Submitted: auto-replied",
    b"X:\r\n\tContent-Type: text/plain",
    b"no colon here",
    b" folded, with nothing before it",
    b"From nobody Mon Sep 17 00:00:00 2001",
    b": no name",
    b"\xff: not ASCII",
)


def boundary_of(octets: bytes) -> bytes:
    """The first boundary that is named."""
    named = re.search(rb'boundary="?([^"\s;]+)', octets)
    return named[1] if named else b"none"


def header_field(random: Random, octets: bytes) -> bytes:
    """An odd field, in the message's header or a part's."""
    heads = [found.end() for found in re.finditer(rb"^[A-Za-z-]+:[^\n]*\n", octets, re.MULTILINE)]
    at = random.choice([0, *heads])
    return octets[:at] + random.choice(_FIELDS) + random.choice((b"\r\n", b"\n", b"\r\n\r\n")) + octets[at:]


def boundary_parameter(random: Random, octets: bytes) -> bytes:
    """The boundary said in another way, or twice, or another."""
    name = boundary_of(octets)
    half = len(name) // 2
    forms: Sequence[bytes] = (
        b"boundary=" + name,
        b'BOUNDARY="' + name + b'"',
        b"boundary*=us-ascii''" + name,
        b'boundary*0="' + name[:half] + b'"; boundary*1="' + name[half:] + b'"',
        b'boundary="' + name + b'"; boundary=other',
        b'boundary=other; boundary="' + name + b'"',
        b'boundary="' + name + b"\"; boundary*=us-ascii''other",
        b'boundary="\\' + name + b'"',
        b'boundary="' + name + b' "',
        b'boundary=(a comment) "' + name + b'"',
        b'x="; boundary=other"; boundary="' + name + b'"',
        b'x="\\"; boundary=other; y=\\""; boundary="' + name + b'"',
        b'boundary="' + name[:half] + b'"',
        b'boundary\r\n ="' + name + b'"',
        b'boundary="' + name[:half] + b"\r\n " + name[half:] + b'"',
        b'boundary=""; boundary="' + name + b'"',
        b'boundary="' + name + b"\x00" + b'"',
    )
    return octets.replace(b'boundary="' + name + b'"', random.choice(forms), 1)


def content_type(random: Random, octets: bytes) -> bytes:
    """The type of something replaced, or said in another way."""
    found = list(re.finditer(rb"[Cc]ontent-[Tt]ype: *([a-z]+/[a-z-]+)", octets))
    if not found:
        return octets
    at = random.choice(found)
    kind = at[1]
    forms = (
        *TYPES,
        kind.upper(),
        b"(x) " + kind,
        kind + b" (x)",
        kind + b";",
        b'"' + kind + b'"',
        kind + b";;x=y",
        b"\r\n " + kind,
    )
    return octets[: at.start(1)] + random.choice(forms) + octets[at.end(1) :]


def transfer_encoding(random: Random, octets: bytes) -> bytes:
    """The last part, or a line of it, in a transfer encoding, with or without what says so; and then more."""
    marked = re.search(rb"\r\n\r\n(-----BEGIN PGP.*?-----END[^\n]*\n)", octets, re.DOTALL)
    if not marked:
        return octets
    name, encode = random.choice(
        ((b"base64", base64.encodebytes), (b"quoted-printable", quopri.encodestring))
    )
    body = encode(marked[1]).replace(b"\n", b"\r\n") + random.choice((b"", b"", *CLEAR))
    head = octets[: marked.start(1)]
    if random.random() < 0.8:
        declared = head.rpartition(b"Content-Transfer-Encoding: 7bit")
        head = declared[0] + b"Content-Transfer-Encoding: " + name + declared[2] if declared[1] else head
    return head + body + b"\r\n" + octets[marked.end() :]


def encoding_name(random: Random, octets: bytes) -> bytes:
    """A transfer encoding named that isn't the one used."""
    found = list(re.finditer(rb"Content-Transfer-Encoding:([^\r\n]*)", octets))
    if not found:
        return octets
    at = random.choice(found)
    names = (
        b" base64",
        b" quoted-printable",
        b" x-uuencode",
        b" BINARY ",
        b"",
        b" 7bit, base64",
        b" base64 (x)",
    )
    return octets[: at.start(1)] + random.choice(names) + octets[at.end(1) :]
