"""Descriptions for operators: the rule behind each of the gate's reason slugs, and names of packet types.

No verdict depends on this module.
"""

from __future__ import annotations

from typing import Final

# RFC 9580, 5, table 3; the names of 9 and 20 are from RFC 4880 and LibrePGP.
PACKET_NAMES: Final = {
    0: "reserved",
    1: "PKESK",
    2: "signature",
    3: "SKESK",
    4: "one-pass signature",
    5: "secret key",
    6: "public key",
    7: "secret subkey",
    8: "compressed data",
    9: "SED",
    10: "marker",
    11: "literal data",
    12: "trust",
    13: "user ID",
    14: "public subkey",
    17: "user attribute",
    18: "SEIPD",
    19: "modification detection code",
    20: "AEAD",
    21: "padding",
}

# Reasons that begin like this end with the number of the packet type.
_OF_A_PACKET: Final = {
    "packets-tag-": "before the encrypted data only PKESK, SKESK, marker and padding may come; this is {}",
    "packets-version-": "{} has a version that isn't known, or is cut short",
    "packets-size-": "the body of {} is shorter or longer than any real one",
}

_RULES: Final = {
    # What passes.
    "encrypted": "one encrypted OpenPGP message, and nothing else, in multipart/encrypted",
    "securejoin": "the first step of SecureJoin, and nothing else in it",
    "report": "a delivery report that a mail system wrote itself",
    "setup-message": "an Autocrypt Setup Message from a user to that user alone",
    # The header of the message or of a part.
    "content-type": "there must be exactly one Content-Type, well-formed, without repeated parameters",
    "boundary": "a multipart must have a boundary that all programs parse alike",
    "transfer-encoding": "this transfer encoding is not allowed here, malformed, or given twice",
    "not-encrypted": "neither multipart/encrypted nor one of the messages that may be in clear",
    "part-header": "the header of a part is malformed or too long",
    "header-twice": "a field that RFC 5322, 3.6 allows only once occurs twice",
    "header-field": "a header field is longer than the limit for its name",
    "header-size": "the header has too many fields, or is too long as a whole",
    "header-name": "the name of a header field is malformed or too long",
    "header-display-name": "a display name, or all display names of a field together, are too long",
    # Delivery reports and setup messages.
    "line-end": "a CR must be followed by LF",
    "report-size": "a delivery report may have at most 64 kB, with its header",
    "report-text": "the text of a report must be plain text, not a file, and at most 32 kB",
    "report-status": "the delivery status must consist of groups of fields as in RFC 3464, 2",
    "report-quoted": "a report may quote the header of a message, or a message that itself passes the gate",
    "setup-size": "the body of a setup message may have at most 64 kB",
    "setup-text": "the readable parts of a setup message must be plain text, not a file, a few kB at most",
    "setup-key": "a setup message must hold one armored message that is encrypted with a passphrase",
    # The multipart.
    "preamble": "before the first boundary only white space or a known program's standard text may come",
    "boundary-line": "a line that begins like the boundary must be exactly the boundary",
    "epilogue": "only white space may come after the last boundary",
    "multipart-truncated": "the last boundary is missing",
    "part-count": "there are too few or too many parts",
    "part-type": "a part has another media type than is required in its place",
    "version-part": "the first part must be `Version: 1` and nothing else",
    "securejoin-body": "the text must be the first step of SecureJoin and nothing else",
    # The armor.
    "base64": "the Base64 is malformed",
    "base64-lines": "all lines of the Base64 but the last must have the same length, and no space inside",
    "quoted-printable": "the quoted-printable is malformed, or has other characters than printable ASCII",
    "armor-begin": "the encrypted part must begin with the line BEGIN PGP MESSAGE",
    "armor-header": "armor headers are refused from users, and from peers unless RFC 9580 or 4880 names them",
    "armor-line": "a line around the Base64 of the armor is too long",
    "armor-lines": "there are too many lines around the Base64 of the armor",
    "armor-end": "after the Base64 only a checksum may come, then the line END PGP MESSAGE",
    "armor-after": "nothing may come after the line END PGP MESSAGE",
    "armor-truncated": "the line END PGP MESSAGE is missing",
    # The packets.
    "packets-malformed": "the encoded data is not a sequence of OpenPGP packets",
    "packets-indeterminate": "a packet must state its length",
    "packets-partial": "only the encrypted data may have partial lengths, the first of 512 octets or more",
    "packets-marker": "the body of a marker packet must be exactly PGP",
    "packets-seipd-header": "a SEIPD of version 2 must name a cipher, a mode and a chunk size of RFC 9580",
    "packets-readable": "the data is not ciphertext: its octets are not distributed as random ones are",
    "packets-skipped": "there is too much padding, or too much in packets that readers skip",
    "packets-too-many": "there are too many packets or partial lengths",
    "packets-no-seipd": "there is no encrypted data (SEIPD)",
    "packets-after-seipd": "nothing may come after the encrypted data",
    "packets-truncated": "the last packet is cut short",
    # A rule of `rules.submission`, reported in the same place.
    "from-mismatch": "the From header must name one author, who is the envelope's sender",
}


def rule(reason: str) -> str:
    """Describes the rule behind a reason slug, without a full stop. Raises `KeyError` if it is unknown."""
    for beginning, text in _OF_A_PACKET.items():
        if reason.startswith(beginning):
            return text.format(packet_name(int(reason.removeprefix(beginning))))
    return _RULES[reason]


def packet_name(tag: int) -> str:
    """Name and number of a packet type: `PKESK (1)`, `unknown (63)`."""
    return f"{PACKET_NAMES.get(tag, 'unknown')} ({tag})"


def words() -> tuple[str, ...]:
    """The reasons that have no number in them."""
    return tuple(_RULES)
