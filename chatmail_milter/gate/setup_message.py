"""Checks an Autocrypt Setup Message (Autocrypt 1.1, 4.4): a secret key, sent to its owner.

It has two parts: text for the user, and `application/autocrypt-setup`, which holds one armored message,
encrypted with a passphrase, in a little HTML or none. The size of the cleartext is limited.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatmail_milter.gate import fields
from chatmail_milter.gate.buffered_body import BufferedBody, is_text, split
from chatmail_milter.gate.layers import Observer, RefusedError
from chatmail_milter.gate.payload import payload

# Octets of the body. An RSA 4096 secret key with its signatures has about 10 kB in armor.
_BODY_MOST = 65536
# Octets of the text for the user, and of the HTML around the armor. Enigmail, K-9 and Delta Chat write less
# than 1 kB of each.
_TEXT_MOST = 4096
_AROUND_MOST = 2048

_ARMORED = re.compile(rb"(.*?)(-----BEGIN PGP MESSAGE-----\n.*?-----END PGP MESSAGE-----)(.*)", re.DOTALL)
# Armor headers of Autocrypt 1.1, 4.4.2: format and first digits of the passphrase. OpenPGP does not know
# them.
_PASSPHRASE = re.compile(rb"^Passphrase-(?:Format: numeric9x4|Begin: [0-9]{1,4})[ \t]*\n", re.MULTILINE)
_PASSPHRASE_MOST = 2
# Armor of any kind begins with these: none may be outside the one armored message.
_DASHES = b"-----"
_PKESK = 1


def claims(
    content_type: str,
    sender: str,
    recipients: Sequence[str],
    subjects: Sequence[bytes],
    marks: Sequence[bytes],
) -> bool:
    """Whether the header claims to be that of a setup message, from a user to only that user.

    `content_type`: the media type. `sender`, `recipients`: of the envelope, canonical. `subjects`, `marks`:
    values of Subject and Autocrypt-Setup-Message.
    """
    return (
        content_type == "multipart/mixed"
        and [fields.unfolded(value) for value in subjects] == ["Autocrypt Setup Message"]
        and [fields.unfolded(value) for value in marks] == ["v1"]
        and bool(sender)
        and tuple(recipients) == (sender,)
    )


class _Tags(Observer):
    """Records the packet types of a message."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def packet(self, tag: int, version: int | None, length: int | None, *, partial: bool) -> None:
        self.seen.add(tag)


class SetupMessage:
    """A sink for the body of a setup message."""

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._held = BufferedBody(_BODY_MOST, "setup-size")

    def feed(self, data: bytes) -> None:
        self._held.feed(data)

    def finish(self) -> None:
        parts = split(self._held.octets(), self._boundary, preamble_most=0)
        if len(parts) != 2:
            raise RefusedError("part-count")
        text, key = parts
        if (text.type, key.type) != ("text/plain", "application/autocrypt-setup"):
            raise RefusedError("part-type")
        words = text.decoded()
        if text.is_a_file or len(words) > _TEXT_MOST or not is_text(words):
            raise RefusedError("setup-text")
        _check_key(key.decoded().replace(b"\r\n", b"\n"))


def _check_key(octets: bytes) -> None:
    found = _ARMORED.fullmatch(octets)
    if found is None:
        raise RefusedError("setup-key")
    before, armor, after = found.groups()
    if _DASHES in before + after:
        raise RefusedError("setup-key")
    if len(before) + len(after) > _AROUND_MOST or not is_text(before + after):
        raise RefusedError("setup-text")
    header, blank, base64 = armor.partition(b"\n\n")
    header, _ = _PASSPHRASE.subn(b"", header + b"\n", count=_PASSPHRASE_MOST)
    tags = _Tags()
    sink = payload("", strict=False, observer=tags)
    sink.feed(header.removesuffix(b"\n") + blank + base64)
    sink.finish()
    if _PKESK in tags.seen:
        raise RefusedError("setup-key")
