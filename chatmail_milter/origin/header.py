"""The header octets that a DKIM signature covers: canonical form, choice of fields (RFC 6376, 3.4, 5.4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dkim.canonicalization import Relaxed, Simple

from chatmail_milter.rules.signature import Signature, unsigned_value

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
