"""A message's header as DKIM signs it: canonical forms (RFC 6376, 3.4) and the choice of fields (5.4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dkim.canonicalization import Relaxed, Simple

from chatmail_milter.rules.signature import Signature, unsigned_value

_FORMS = {"simple": Simple, "relaxed": Relaxed}
_OWN_NAME = "dkim-signature"


class SignedHeader:
    """The header `fields`, in order: names, and values as they came, with the blanks after the colon."""

    def __init__(self, fields: Sequence[tuple[str, bytes]]) -> None:
        self._fields = fields
        self._places: dict[str, list[int]] = {}
        for at, (name, _) in enumerate(fields):
            self._places.setdefault(name.strip(" \t").lower(), []).append(at)
        self._canonical: dict[str, list[bytes]] = {}

    def signed_octets(self, signature: Signature) -> Iterable[bytes]:
        """What `signature` signs of the header, in pieces: the fields of `h`, then the signature's own field.

        Of fields with one name, `h` means the last one first. A name for which no field is left stands for
        nothing.
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
        # Once for all signatures: there may be many, of a header of 256 kB.
        if form not in self._canonical:
            self._canonical[form] = [_field(name, value, form) for name, value in self._fields]
        return self._canonical[form]


def _field(name: str, value: bytes, form: str) -> bytes:
    # Postfix hands folded fields on with LF.
    folded = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    ((canonical_name, canonical_value),) = _FORMS[form].canonicalize_headers([(name.encode(), folded)])
    return bytes(canonical_name) + b":" + bytes(canonical_value)
