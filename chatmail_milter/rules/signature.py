"""Parser for DKIM-Signature (RFC 6376, 3.5), and our minimum requirements on a signature.

Verifies nothing: OpenDKIM does that, and `origin.verifier` where OpenDKIM can't.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

# RFC 6376, 3.2: FWS may stand inside `b`, `bh` and `h`.
_BLANKS = re.compile(rb"[ \t\r\n]+")
_TAG_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_CANONICALIZATION = re.compile(r"(simple|relaxed)(?:/(simple|relaxed))?")
# RFC 6376, 3.5: `d` and `s` are domain names, `i` is an address, quoted-printable.
_DOMAIN = re.compile(rb"[A-Za-z0-9._-]+")
_TIME = re.compile(rb"[0-9]{1,12}")
_ALGORITHM = re.compile(rb"[A-Za-z0-9-]+")
_QUOTED_OCTET = re.compile(rb"=([0-9A-Fa-f]{2})")
_PLAIN_IDENTITY = re.compile(rb"[!#-'*-:<-\[\]-~]*")

# RFC 8301, 3.1 (rsa-sha1 MUST NOT be used) and RFC 8463.
ALGORITHMS = frozenset(("rsa-sha256", "ed25519-sha256"))


class Flaw(StrEnum):
    """Why even a valid signature of the right domain is not accepted; the value is a verdict's reason."""

    ALGORITHM = "dkim-algorithm"
    LENGTH = "dkim-length"
    FIELDS = "dkim-fields"


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature field. Names are in lower case.

    `signature`, `body_hash`: Base64 without blanks. `fields`: the names in `h`, in order. `header_form`,
    `body_form`: the halves of `c`, "simple" or "relaxed". `has_length`: there is an `l`. `expires`: POSIX
    time. `identity_is_domain`: the domain of `i` equals `d`, it is not a subdomain. `raw`: the unchanged
    value.
    """

    domain: str
    selector: str
    algorithm: str
    signature: str
    body_hash: str
    fields: tuple[str, ...]
    header_form: str
    body_form: str
    has_length: bool
    expires: int | None
    identity_is_domain: bool
    raw: bytes

    @property
    def flaw(self) -> Flaw | None:
        """Why the signature is not acceptable even if it is valid; None if it is acceptable.

        Requires no fields that large providers leave unsigned: Gmail signs no Content-Type, Outlook no To.
        """
        if self.algorithm not in ALGORITHMS:
            return Flaw.ALGORITHM
        if self.has_length:
            # RFC 6376, 8.2: anything could be appended to the body.
            return Flaw.LENGTH
        if "from" not in self.fields or not {"date", "message-id"}.intersection(self.fields):
            # RFC 6376, 5.4 requires From. A signature of From alone could be replayed with other headers.
            return Flaw.FIELDS
        return None


def parse(raw: bytes) -> Signature | None:
    """Parses the field's value; None if it does not conform to RFC 6376, 3.5."""
    tags = _tags(raw)
    if tags is None or tags.get(b"v") != b"1" or tags.get(b"q", b"dns/txt") != b"dns/txt":
        return None
    forms = _CANONICALIZATION.fullmatch(tags.get(b"c", b"simple/simple").decode("latin-1").lower())
    signature, body_hash = (_BLANKS.sub(b"", tags.get(name, b"")) for name in (b"b", b"bh"))
    domain, selector = tags.get(b"d", b"").lower(), tags.get(b"s", b"").lower()
    identity = tags.get(b"i", b"@" + domain).lower().rpartition(b"@")
    if (
        forms is None
        or not all(_DOMAIN.fullmatch(name) for name in (domain, selector))
        or not all(_BASE64.fullmatch(value) for value in (signature, body_hash))
        or not _is_below(identity, domain)
        or not _TIME.fullmatch(tags.get(b"x", b"0"))
    ):
        return None
    fields = _BLANKS.sub(b"", tags.get(b"h", b"")).decode("latin-1").lower()
    return Signature(
        domain=domain.decode(),
        selector=selector.decode(),
        algorithm=tags.get(b"a", b"").decode("latin-1").lower(),
        signature=signature.decode(),
        body_hash=body_hash.decode(),
        fields=tuple(fields.split(":")),
        header_form=forms[1],
        # RFC 6376, 3.5: `c=relaxed` is `relaxed/simple`.
        body_form=forms[2] or "simple",
        has_length=b"l" in tags,
        expires=int(tags[b"x"]) if b"x" in tags else None,
        identity_is_domain=identity[2] == domain,
        raw=raw,
    )


def is_plain(raw: bytes) -> bool:
    """Whether no tag's value has characters with a meaning in Authentication-Results.

    OpenDKIM prints `a`, `b`, `d`, `i` and `s` there without escaping, `i` decoded. So an `i` of
    `x=3B=20dkim=3Dpass=20header.d=3Dpeer.example@evil.example` would inject a forged result.
    """
    for tag in raw.split(b";"):
        name, _, value = tag.partition(b"=")
        name, value = name.strip(), value.strip()
        if name in (b"d", b"s") and not _DOMAIN.fullmatch(value):
            return False
        if name == b"a" and not _ALGORITHM.fullmatch(value):
            return False
        if name == b"b" and not _BASE64.fullmatch(_BLANKS.sub(b"", value)):
            return False
        if name == b"i" and not _PLAIN_IDENTITY.fullmatch(_QUOTED_OCTET.sub(_octet, value)):
            return False
    return True


def unsigned_value(raw: bytes) -> bytes:
    """The field's value as it was signed: with the value of `b` removed (RFC 6376, 3.7)."""
    tags = raw.split(b";")
    for at, tag in enumerate(tags):
        name, equals, _ = tag.partition(b"=")
        if equals and name.strip() == b"b":
            tags[at] = name + equals
    return b";".join(tags)


def _tags(raw: bytes) -> dict[bytes, bytes] | None:
    """Parses a tag list (RFC 6376, 3.2); None if it is malformed or has a tag twice."""
    tags: dict[bytes, bytes] = {}
    for tag in raw.split(b";"):
        name, equals, value = tag.partition(b"=")
        name = name.strip()
        if not equals and not name:
            continue
        if not equals or not _TAG_NAME.fullmatch(name) or name in tags:
            return None
        tags[name] = value.strip()
    return tags


def _is_below(identity: tuple[bytes, bytes, bytes], domain: bytes) -> bool:
    """RFC 6376, 3.5: the domain of `i` must be `d` or a subdomain of it."""
    _, at, host = identity
    return bool(at) and (host == domain or host.endswith(b"." + domain))


def _octet(matched: re.Match[bytes]) -> bytes:
    return bytes((int(matched[1], 16),))
