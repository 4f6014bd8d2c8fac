"""What the gate's answers mean, in words: for each reason the rule that decided, for each packet its name.

Nothing here takes part in a verdict.
"""

from __future__ import annotations

from typing import Final

# RFC 9580, 5, table 3; 9 and 20 by the names that RFC 4880 and LibrePGP gave them.
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

# Of reasons that begin like this, the rest is a packet's number.
_OF_A_PACKET: Final = {
    "packets-tag-": "before the encrypted data only PKESK, SKESK, marker and padding may come; this is {}",
    "packets-version-": "{} has a version that isn't known, or is cut short",
    "packets-size-": "{} is larger or smaller than any that holds what it should",
}

_RULES: Final = {
    # What passes.
    "encrypted": "one OpenPGP message, encrypted and nothing else, in multipart/encrypted",
    "securejoin": "the first step of SecureJoin, and nothing else in it",
    "report": "a delivery report that a mail system wrote itself",
    "setup-message": "an Autocrypt Setup Message from a user to that user alone",
    # The header of the message or of a part.
    "content-type": "there must be exactly one Content-Type, well-formed, and no parameter of it twice",
    "boundary": "a multipart must have a boundary that all programs read alike",
    "transfer-encoding": "this transfer encoding can't be used here, or is given twice",
    "not-encrypted": "neither multipart/encrypted nor one of the messages that may be in clear",
    "part-header": "the header of a part is malformed or too long",
    "header-twice": "a field that RFC 5322, 3.6 allows once is there twice",
    "header-field": "a header field is longer than any real one of its name",
    "header-size": "there are more header fields, or all of them are longer, than in any real message",
    "header-name": "a header field has a name that is none, or is longer than any real one",
    "header-display-name": "a display name, or all names of a field together, are longer than real ones",
    # Delivery reports and setup messages.
    "line-end": "a CR must be followed by LF",
    "report-size": "a delivery report has 64 kB, with its header",
    "report-text": "the text of a report must be text, no file, and 32 kB at most",
    "report-status": "the delivery status must be what RFC 3464, 2 describes: groups of fields",
    "report-quoted": "a report may quote the header of a message, or a message that passes by itself",
    "setup-size": "a setup message has 64 kB",
    "setup-text": "what can be read in a setup message must be text, no file, and a few sentences at most",
    "setup-key": "a setup message must hold one armored message that is encrypted with a passphrase",
    # The multipart.
    "preamble": "before the first boundary only white space may come, or what mail programs write there",
    "boundary-line": "a line that begins like the boundary must be exactly that",
    "epilogue": "only white space may come after the last boundary",
    "multipart-truncated": "the last boundary is missing",
    "part-count": "there are too few or too many parts",
    "part-type": "a part has another media type than the one that belongs there",
    "version-part": "the first part must say `Version: 1` and nothing else",
    "securejoin-body": "the text must be the first step of SecureJoin and nothing else",
    # The armor.
    "base64": "the Base64 must be valid to its last character",
    "base64-lines": "the Base64 must be in lines of one length but for the last, without white space inside",
    "quoted-printable": "the quoted-printable must be of printable ASCII, in lines, and well-formed",
    "armor-begin": "the encrypted part must begin with the first line of a PGP MESSAGE",
    "armor-header": "an armor header: none when submitted; from peers those of RFC 9580, and a blank line",
    "armor-line": "a line around the Base64 of the armor is too long",
    "armor-lines": "there are too many lines around the Base64 of the armor",
    "armor-end": "the Base64 must be followed by a checksum or none, then the last line of the armor",
    "armor-after": "nothing may come after the last line of the armor",
    "armor-truncated": "the armor has no last line",
    # The packets.
    "packets-malformed": "what is encoded are not OpenPGP packets",
    "packets-indeterminate": "a packet must say how long it is",
    "packets-partial": "only the encrypted data may have partial lengths, the first of 512 octets or more",
    "packets-marker": "a marker packet must be exactly PGP",
    "packets-seipd-header": "a SEIPD of version 2 must name a cipher, a mode and a chunk size of RFC 9580",
    "packets-readable": "what should be ciphertext has another share of high bits than ciphertext has",
    "packets-skipped": "there is too much padding, or other that readers skip",
    "packets-too-many": "there are too many packets or partial lengths for so few octets",
    "packets-no-seipd": "there is no encrypted data (SEIPD)",
    "packets-after-seipd": "nothing may come after the encrypted data",
    "packets-truncated": "the last packet is cut short",
    # Not the gate's, but said in its place.
    "from-mismatch": "the From header must name one author, who is the envelope's sender",
}


def rule(reason: str) -> str:
    """The rule behind a reason, as one sentence without a stop. Raises `KeyError` if it is no reason."""
    for beginning, text in _OF_A_PACKET.items():
        if reason.startswith(beginning):
            return text.format(packet_name(int(reason.removeprefix(beginning))))
    return _RULES[reason]


def packet_name(tag: int) -> str:
    """`PKESK (1)`; `unknown (63)`."""
    return f"{PACKET_NAMES.get(tag, 'unknown')} ({tag})"


def words() -> tuple[str, ...]:
    """The reasons that have no number in them."""
    return tuple(_RULES)
