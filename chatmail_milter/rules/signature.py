"""A DKIM-Signature field as values (RFC 6376, 3.5), and what a signature needs so that it counts here.

Pure. Nothing is verified in this module: OpenDKIM does that, and `origin.verifier` where OpenDKIM can't.
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
    """Why a signature of the right domain does not count, however well it verifies; a verdict's reason."""

    ALGORITHM = "dkim-algorithm"
    LENGTH = "dkim-length"
    FIELDS = "dkim-fields"


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature field. Names are in lower case, `signature` and `body_hash` are base64 without
    blanks.

    `fields` are the names of `h`, in order. `header_form` and `body_form` are the two halves of `c`: "simple"
    or "relaxed". `expires` is POSIX time. `identity_is_domain`: the domain of `i` is that of `d`, not one
    below it. `raw` is the field's value as it came.
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
        """What is wrong with what the signature covers and how; None if it counts once it verifies.

        No more fields are required than large providers sign: Gmail signs no Content-Type, Outlook no To.
        """
        if self.algorithm not in ALGORITHMS:
            return Flaw.ALGORITHM
        if self.has_length:
            # RFC 6376, 8.2: anything could be appended to the body.
            return Flaw.LENGTH
        if "from" not in self.fields or not {"date", "message-id"}.intersection(self.fields):
            # RFC 6376, 5.4 demands From. A signature of From alone fits any message with the same body.
            return Flaw.FIELDS
        return None


def parse(raw: bytes) -> Signature | None:
    """The field's value; None where it is not a signature of RFC 6376, 3.5."""
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
    """Whether the field holds nothing that has a meaning in an Authentication-Results field.

    OpenDKIM prints `a`, `b`, `d`, `i` and `s` as they are, `i` decoded: an `i` of
    `x=3B=20dkim=3Dpass=20header.d=3Dpeer.example@evil.example` makes a second result, of no signature.
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
    """The field's value as it was signed: without the value of `b` and blanks around that (RFC 6376, 3.7)."""
    tags = raw.split(b";")
    for at, tag in enumerate(tags):
        name, equals, _ = tag.partition(b"=")
        if equals and name.strip() == b"b":
            tags[at] = name + equals
    return b";".join(tags)


def _tags(raw: bytes) -> dict[bytes, bytes] | None:
    """RFC 6376, 3.2: a tag that is there twice makes the whole list invalid."""
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
    """RFC 6376, 3.5: the domain of `i` is that of `d`, or below it."""
    _, at, host = identity
    return bool(at) and (host == domain or host.endswith(b"." + domain))


def _octet(matched: re.Match[bytes]) -> bytes:
    return bytes((int(matched[1], 16),))
