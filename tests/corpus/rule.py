"""The PGP-only rule stated a second time, over trees and packets that other people's parsers made.

MIME by the readers in `trees`, armor by one regular expression, packets by Sequoia. It may be more lenient
than the gate; but what passes the gate must be the same here, to every reader.
"""

from __future__ import annotations

import base64
import binascii
import math
import re

from pysequoia.packet import PacketPile

from tests.corpus.framing import TruncatedError, split
from tests.corpus.manifest import ENCRYPTED, NONE, SECURE_JOIN
from tests.corpus.trees import Reader, Tree, by_email, by_lines

READERS: tuple[Reader, ...] = (by_email, by_lines)

_IDENTITY = ("", "7bit", "8bit", "binary")
_ARMOR = re.compile(
    rb"\s*-----BEGIN PGP MESSAGE-----[ \t\r]*\n"
    rb"(?P<headers>(?:(?:Version|Comment|MessageID|Hash|Charset):[^\r\n]{0,81}[ \t\r]*\n)*)"
    rb"[ \t\r]*\n"
    rb"(?P<base64>[A-Za-z0-9+/\r\n]*(?:\s*={1,2})?)\s*"
    rb"(?:=[A-Za-z0-9+/]{4}\s*)?"
    rb"-----END PGP MESSAGE-----\s*"
)
# What may come, as tags and versions: session keys, then one SEIPD, and what is skipped before it.
_SEALED = re.compile(r"(?:PKESK[36] |SKESK[456] |Marker80 |Padding[-\d]+ )*SEIP[12] ")
_SEALED_BY_PEERS = re.compile(r"(?:PKESK[36] |SKESK[456] |Marker80 |Padding[-\d]+ |skipped[-\d]+ )*SEIP[12] ")
# The tags that those are, for packets which Sequoia finds too short.
_NAMES = {1: "PKESK", 3: "SKESK", 10: "Marker", 18: "SEIP", 21: "Padding"}
_NAMES |= dict.fromkeys(range(40, 64), "skipped")
_SIZES_MOST = {"PKESK": 2304, "SKESK": 128}
_VERSION = {False: rb"Version: 1", True: rb"(?i:version)[ \t]*:[ \t]*1"}
_PREAMBLE = re.compile(
    rb"(?:This is an OpenPGP/MIME encrypted message(?: \(RFC 3156\))?\."
    rb"|This is an OpenPGP/MIME encrypted message \(RFC (?:2440|4880|9580) and 3156\)"
    rb"(?:\s+This message was encrypted with pEp https://pEp-project\.org)?"
    rb"|This message is in MIME format and has been PGP encrypted\."
    rb"|This is a multi-part message in MIME format\.(?:\.\.)?)?"
)
# A Content-Type or a transfer encoding with its folded lines; in it quoted strings, and comments (RFC 822).
_COMMENTED = re.compile(
    rb"^content-(?:type|transfer-encoding):[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE
)
_QUOTED_OR_COMMENT = re.compile(rb'("(?:[^"\\]|\\.)*")|\([^()]*\)')
# RFC 5322, 2.2: where no such line is, Postfix ends the header.
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


def kind(direction: str, octets: bytes, reader: Reader) -> str:
    """What a message is to this reader: `ENCRYPTED`, `SECURE_JOIN` or `NONE`; direction is `in` or `out`."""
    octets = _as_postfix_writes(octets)
    # Readers that know no comments see another type, and then no parts: what is in them is the same.
    tree = reader(_without_comments(octets) if direction == "in" else octets)
    if tree.encoding not in _IDENTITY:
        return NONE
    if tree.type == "multipart/encrypted" and _is_encrypted(tree, incoming=direction == "in"):
        return ENCRYPTED
    return SECURE_JOIN if _is_secure_join(tree) else NONE


def _is_encrypted(tree: Tree, *, incoming: bool) -> bool:
    if len(tree.parts) != 2 or any(part.multipart for part in tree.parts):
        return False
    if not _PREAMBLE.fullmatch(tree.outside.strip()):
        return False
    version, data = tree.parts
    encodings = (*_IDENTITY, *(["base64", "quoted-printable"] if incoming else []))
    return (
        version.type == "application/pgp-encrypted"
        and version.encoding in encodings
        and re.fullmatch(_VERSION[incoming], version.octets.strip()) is not None
        and data.type == "application/octet-stream"
        and data.encoding in encodings
        and _is_ciphertext(data.octets, incoming=incoming, raw=data.encoding == "base64")
    )


def _is_secure_join(tree: Tree) -> bool:
    steps = [value.lower() for value in tree.values("secure-join")]
    if not tree.type.startswith("multipart/") or tree.outside.strip() or len(tree.parts) != 1:
        return False
    part, text = tree.parts[0], tree.parts[0].octets.strip().lower()
    steps_match = len(steps) == 1 and steps[0] in ("vc-request", "vg-request")
    return (
        steps_match
        and part.type == "text/plain"
        and text
        in (
            b"secure-join: vc-request",
            b"secure-join: vg-request",
        )
    )


def _is_ciphertext(octets: bytes, *, incoming: bool, raw: bool) -> bool:
    """One armored message, or packets that were in Base64 only, that nobody reads without a key."""
    if octets[:1] >= b"\x80":
        return raw and _is_sealed(octets, incoming=incoming)
    armor = _ARMOR.fullmatch(octets)
    if armor is None or (armor["headers"] and not incoming):
        return False
    lengths = [len(line) for line in armor["base64"].split()]
    if len(set(lengths[:-1])) > 1 or (lengths and lengths[-1] > lengths[0]):
        return False
    try:
        packets = base64.b64decode(re.sub(rb"\s", b"", armor["base64"]), validate=True)
    except binascii.Error:
        return False
    return packets[:1] >= b"\x80" and _is_sealed(packets, incoming=incoming)


def _is_sealed(octets: bytes, *, incoming: bool) -> bool:
    """Session keys, then one SEIPD and nothing else, each as large as real ones; and noise in them."""
    packets = _packets(octets)
    words = (f"{tag}{body[0] if body else '-'} " for tag, body in packets)
    if not (_SEALED_BY_PEERS if incoming else _SEALED).fullmatch("".join(words)):
        return False
    skipped = sum(len(body) for tag, body in packets if tag in ("Padding", "skipped"))
    if skipped > 1024 or any(len(body) > _SIZES_MOST.get(tag, len(body)) for tag, body in packets):
        return False
    seipd = packets[-1][1]
    begins = 1 if seipd[0] == 1 else 4
    if len(seipd) < (41 if seipd[0] == 1 else 68):
        return False
    return all(_is_noise(body[10:]) for tag, body in packets if tag == "PKESK") and _is_noise(
        seipd[begins : begins + 1024]
    )


def _is_noise(octets: bytes) -> bool:
    """Whether as many octets have the high bit as of ciphertext, give or take five roots of their number."""
    high = sum(octet >> 7 for octet in octets)
    return abs(high - len(octets) / 2) <= 5 * math.sqrt(len(octets))


def _packets(octets: bytes) -> list[tuple[str, bytes]]:
    """Tags and bodies by Sequoia. It refuses packets that are too short for what they should hold."""
    try:
        return [
            (str(packet.tag).removeprefix("Tag."), packet.body) for packet in PacketPile.from_bytes(octets)
        ]
    except RuntimeError:
        pass
    try:
        return [(_NAMES.get(tag, "other"), body) for tag, body in split(octets)]
    except TruncatedError:
        return []


def _without_comments(octets: bytes) -> bytes:
    """The message without the comments in its Content-Types and transfer encodings."""
    return _COMMENTED.sub(lambda field: _QUOTED_OR_COMMENT.sub(rb"\1", field[0]), octets)


def _as_postfix_writes(octets: bytes) -> bytes:
    """The message as Postfix has it by the time a milter or a recipient sees it.

    A stray CR in the header is a space (cleanup_replace_stray_cr_lf), and where a line that is no field ends
    the header, an empty line comes before it.
    """
    at = 0
    lines = []
    while at < len(octets):
        end = octets.find(b"\n", at) + 1 or len(octets)
        line = octets[at:end]
        if line in (b"\r\n", b"\n"):
            break
        line = re.sub(rb"\r(?!\n)", b" ", line)
        if not _FIELD.match(line) and line[:1] not in (b" ", b"\t"):
            lines.append(b"\r\n")
            break
        lines.append(line)
        at = end
    return b"".join(lines) + octets[at:]
