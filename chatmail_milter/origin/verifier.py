"""Verifies a DKIM signature with a given key record (RFC 6376, 6.1.2 and 6.1.3), by dkimpy.

For signatures that OpenDKIM left undecided. Makes no DNS queries and reads no clock.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence

import dkim
from dkim.crypto import RSASSA_PKCS1_v1_5_verify
from dkim.util import InvalidTagValueList, parse_tag_value
from nacl.exceptions import BadSignatureError

from chatmail_milter.rules.dkim import SignatureOutcome
from chatmail_milter.rules.signature import Signature

# RFC 8301, 3.2 requires verification of 1024 to 4096 bits. The limits bound the CPU per signature: with a
# huge exponent, one would cost seconds.
KEY_BITS = range(1024, 8193)
EXPONENT_MOST_BITS = 64
# Octets of a key record. A key of 8192 bits in Base64 has 1,400.
RECORD_MOST = 4096
# Seconds, like OpenDKIM's ClockDrift: a clock that is wrong by hours must not cause refusals.
CLOCK_DRIFT = 86400

_WORDS = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
# What dkimpy and PyNaCl raise for a malformed record or signature. (Errors of base64 are ValueErrors.)
_MALFORMED = (dkim.DKIMException, AssertionError, IndexError, KeyError, TypeError, ValueError)


class KeyUnusableError(Exception):
    """The record has no key that may be used for this signature."""


def fits_body(signature: Signature, body_digest: bytes) -> bool:
    """Whether the signature's body hash (`bh`) equals `body_digest`, SHA-256 of the canonicalized body."""
    try:
        return base64.b64decode(signature.body_hash + "==") == body_digest
    except binascii.Error:
        # The length is impossible for Base64.
        return False


def verify(
    signature: Signature, signed_octets: Iterable[bytes], records: Sequence[bytes], now: float
) -> SignatureOutcome:
    """Verifies the signature over the header: `PASS`, `INVALID` or `KEY_UNUSABLE`. For the body, `fits_body`.

    `signed_octets`: from `SignedHeader`. `records`: the TXT records of the selector, at least one. `now`:
    POSIX time.
    """
    if signature.expires is not None and signature.expires + CLOCK_DRIFT < now:
        return SignatureOutcome.INVALID
    # RFC 6376, 3.6.2.2: the result with several records is undefined.
    if len(records) != 1:
        return SignatureOutcome.KEY_UNUSABLE
    try:
        key, kind = _key(records[0], signature)
    except (KeyUnusableError, *_MALFORMED):
        return SignatureOutcome.KEY_UNUSABLE
    hashed = hashlib.sha256()
    for octets in signed_octets:
        hashed.update(octets)
    try:
        value = base64.b64decode(signature.signature, validate=True)
        if kind == b"rsa":
            # RFC 8017, 8.2.2: a signature is as long as the modulus.
            long_enough = len(value) == (key["modulus"].bit_length() + 7) // 8
            valid = long_enough and RSASSA_PKCS1_v1_5_verify(hashed, value, key)
        else:
            # RFC 8463, 3: Ed25519 signs the hash.
            key.verify(hashed.digest(), value)
            valid = True
    except (BadSignatureError, *_MALFORMED):
        valid = False
    return SignatureOutcome.PASS if valid else SignatureOutcome.INVALID


def _key(record: bytes, signature: Signature):  # type: ignore[no-untyped-def] # dkimpy's types
    """The key as dkimpy's object, and its type. Raises `KeyUnusableError` and the errors in `_MALFORMED`."""
    if len(record) > RECORD_MOST:
        raise KeyUnusableError("too long")
    try:
        tags = parse_tag_value(record)
    except InvalidTagValueList:
        raise KeyUnusableError("no tags") from None
    # RFC 6376, 3.6.1: an empty `p` means revoked; `h`, `s` and `t` restrict the use of the key.
    services, hashes = _listed(tags, b"s", b"*"), _listed(tags, b"h", b"sha256")
    if not tags.get(b"p") or not services & {b"*", b"email"} or b"sha256" not in hashes:
        raise KeyUnusableError("not for this")
    if b"s" in _listed(tags, b"t", b"") and not signature.identity_is_domain:
        raise KeyUnusableError("not for domains below")
    key, bits, kind, _ = dkim.evaluate_pk(signature.domain, record)
    if kind != signature.algorithm.partition("-")[0].encode():
        raise KeyUnusableError("another algorithm")
    if kind == b"rsa" and (bits not in KEY_BITS or key["publicExponent"].bit_length() > EXPONENT_MOST_BITS):
        raise KeyUnusableError("size")
    return key, kind


def _listed(tags: dict[bytes, bytes], name: bytes, default: bytes) -> set[bytes]:
    return set(_WORDS.split(tags.get(name, default).strip()))
