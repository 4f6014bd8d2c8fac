"""What a DKIM signature covers, in canonical form (RFC 6376, 3.4): the body's hash, and the header.

The hash (3.7) is computed while the body streams by, in constant memory: blank lines, which count only if
text follows, are kept as a number. Of the header, a signature chooses the fields (5.4.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from dkim.canonicalization import Relaxed, Simple

from chatmail_milter.rules.signature import Signature, unsigned_value

_CRLF = b"\r\n"
_LINES_AT_ONCE = 4096


class BodyHash:
    """SHA-256 of a canonicalized body. `form`: "simple" or "relaxed". `feed` the body, then call `digest`."""

    def __init__(self, form: str) -> None:
        self._relaxed = form == "relaxed"
        self._hash = hashlib.sha256()
        # At most two octets at the end of the input: the next octets decide how these are hashed.
        self._held = b""
        self._blank_lines = 0
        self._empty = True

    def feed(self, chunk: bytes) -> None:
        """Takes the next octets of the body."""
        text = self._held + chunk if self._held else chunk
        end = len(text)
        if text.endswith(b"\r"):
            end -= 1
        self._held = text[end:]
        if self._relaxed:
            bare = len(text[:end].rstrip(b" \t"))
            if bare < end:
                self._held = b" " + self._held
                end = bare
        self._take(text[:end])

    def digest(self) -> bytes:
        """The 32 octets of the hash. Ends the body: don't call `feed` again."""
        self._take(self._held)
        # RFC 6376, 3.4.3, 3.4.4: a missing last line end is added. An empty body is hashed as one line end in
        # simple form, as nothing in relaxed.
        if not (self._empty and self._relaxed):
            self._hash.update(_CRLF)
        return self._hash.digest()

    def _take(self, text: bytes) -> None:
        if self._relaxed:
            text = _without_blanks(text)
        content = len(text) - 2 * _line_ends_at_end(text)
        if content:
            while self._blank_lines:
                lines = min(self._blank_lines, _LINES_AT_ONCE)
                self._hash.update(_CRLF * lines)
                self._blank_lines -= lines
            self._hash.update(text[:content])
            self._empty = False
        self._blank_lines += (len(text) - content) // 2


def _without_blanks(text: bytes) -> bytes:
    """Replaces runs of blanks by one space, none at line ends. (With `re`, 30 MB of blanks took 3 s.)"""
    text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text.replace(b" \r\n", _CRLF)


def _line_ends_at_end(text: bytes) -> int:
    """How many CRLF `text` ends with."""
    run = text[len(text.rstrip(_CRLF)) :]
    # Begin after the last place where CR and LF don't alternate.
    run = run[max(run.rfind(b"\r\r"), run.rfind(b"\n\n")) + 1 :]
    return len(run.removeprefix(b"\n")) // 2 if run.endswith(b"\n") else 0


_FORMS = {"simple": Simple, "relaxed": Relaxed}
_OWN_NAME = "dkim-signature"


class SignedHeader:
    """`fields`: the header's, in order: (name, raw value with the blanks after the colon)."""

    def __init__(self, fields: Sequence[tuple[str, bytes]]) -> None:
        self._fields = fields
        self._places: dict[str, list[int]] = {}
        for at, (name, _) in enumerate(fields):
            self._places.setdefault(name.strip(" \t").lower(), []).append(at)
        self._canonical: dict[str, list[bytes]] = {}

    def signed_octets(self, signature: Signature) -> Iterable[bytes]:
        """The signed header octets, in pieces: the fields in `h`, then the signature's own field.

        A name in `h` means the last field of that name that is not used yet, or nothing if none is left.
        """
        own = self._place_of(signature)
        canonical = self._in_form(signature.header_form)
        left: dict[str, list[int]] = {}
        for name in signature.fields:
            if name not in left:
                left[name] = [at for at in self._places.get(name, ()) if at != own]
            if left[name]:
                yield canonical[left[name].pop()]
        name = self._fields[own][0]
        yield _field(name, unsigned_value(signature.raw), signature.header_form).removesuffix(b"\r\n")

    def _place_of(self, signature: Signature) -> int:
        return next(at for at in self._places[_OWN_NAME] if self._fields[at][1] == signature.raw)

    def _in_form(self, form: str) -> list[bytes]:
        # Cached: there may be many signatures on a header of 256 kB.
        if form not in self._canonical:
            self._canonical[form] = [_field(name, value, form) for name, value in self._fields]
        return self._canonical[form]


def _field(name: str, value: bytes, form: str) -> bytes:
    # Postfix passes folded fields to milters with LF; DKIM signs CRLF.
    folded = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    ((canonical_name, canonical_value),) = _FORMS[form].canonicalize_headers([(name.encode(), folded)])
    return bytes(canonical_name) + b":" + bytes(canonical_value)
