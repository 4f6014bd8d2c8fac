"""The PGP-only rule stated a second time, over trees and packets that other people's parsers made.

MIME by the readers in `trees`, armor by one regular expression, packets by Sequoia. It may be more lenient
than the gate; but what passes the gate must be the same here, to every reader.
"""

from __future__ import annotations

import base64
import binascii
import re

from pysequoia.packet import PacketPile

from tests.corpus.framing import TruncatedError, split
from tests.corpus.manifest import ENCRYPTED, NONE, SECURE_JOIN
from tests.corpus.trees import Reader, Tree, by_email, by_lines

READERS: tuple[Reader, ...] = (by_email, by_lines)

_IDENTITY = ("", "7bit", "8bit", "binary")
_ARMOR = re.compile(
    rb"\s*-----BEGIN PGP MESSAGE-----[ \t\r]*\n"
    rb"(?P<headers>(?:(?:Version|Comment):[^\r\n]*\r*\n)*)"
    rb"[ \t\r]*\n"
    rb"(?P<base64>[A-Za-z0-9+/ \t\r\n]*={0,2})\s*"
    rb"(?:=[A-Za-z0-9+/]{4}\s*)?"
    rb"-----END PGP MESSAGE-----\s*"
)
# What may come, as tags and versions: session keys, then one SEIPD, and Marker or Padding before it.
_SEALED = re.compile(r"(?:PKESK[36] |SKESK[456] |Marker80 |Padding[-\d]+ )*SEIP[12] ")
# The tags that those are, for packets which Sequoia finds too short.
_NAMES = {1: "PKESK", 3: "SKESK", 10: "Marker", 18: "SEIP", 21: "Padding"}
# RFC 5322, 2.2: where no such line is, Postfix ends the header.
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


def kind(direction: str, octets: bytes, reader: Reader) -> str:
    """What a message is to this reader: `ENCRYPTED`, `SECURE_JOIN` or `NONE`; direction is `in` or `out`."""
    tree = reader(_as_postfix_writes(octets))
    if tree.encoding not in _IDENTITY:
        return NONE
    if tree.type == "multipart/encrypted" and _is_encrypted(tree, incoming=direction == "in"):
        return ENCRYPTED
    return SECURE_JOIN if _is_secure_join(tree) else NONE


def _is_encrypted(tree: Tree, *, incoming: bool) -> bool:
    if tree.outside.strip() or len(tree.parts) != 2 or any(part.multipart for part in tree.parts):
        return False
    version, data = tree.parts
    return (
        version.type == "application/pgp-encrypted"
        and version.octets.strip() == b"Version: 1"
        and data.type == "application/octet-stream"
        and data.encoding in (*_IDENTITY, *(["base64"] if incoming else []))
        and _is_ciphertext(data.octets, incoming=incoming)
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


def _is_ciphertext(octets: bytes, *, incoming: bool) -> bool:
    """One armored message, or from a peer raw packets, that nobody reads without a key."""
    if octets[:1] >= b"\x80":
        return incoming and _is_sealed(octets)
    armor = _ARMOR.fullmatch(octets)
    if armor is None or (armor["headers"] and not incoming):
        return False
    try:
        packets = base64.b64decode(re.sub(rb"\s", b"", armor["base64"]), validate=True)
    except binascii.Error:
        return False
    return packets[:1] >= b"\x80" and _is_sealed(packets)


def _is_sealed(octets: bytes) -> bool:
    """Session keys, then one SEIPD and nothing else."""
    words = (f"{tag}{body[0] if body else '-'} " for tag, body in _packets(octets))
    return bool(_SEALED.fullmatch("".join(words)))


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
