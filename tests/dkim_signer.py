"""A domain that signs, for tests: keys of any kind, and signatures as good or bad as wanted (by dkimpy)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from typing import Any
from unittest.mock import patch

import dkim
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

FIELDS = ("from", "to", "subject", "date", "message-id", "from")
_HASHES = {"sha1": hashes.SHA1, "sha256": hashes.SHA256}
# RFC 6376, 3.6.1: the two forms of an RSA key that signers publish.
SPKI, PKCS1 = PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1


@cache
def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """The same key for the same arguments: making one takes long."""
    return rsa.generate_private_key(65537, bits)


@cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def rsa_record(form: PublicFormat = SPKI, bits: int = 2048, number: int = 0) -> bytes:
    """The key record, without its `v` and `k`, which are optional."""
    public = rsa_key(bits, number).public_key().public_bytes(Encoding.DER, form)
    return b"p=" + base64.b64encode(public)


def ed25519_record() -> bytes:
    public = ed25519_key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(public)


def sign(
    message: bytes,
    domain: str,
    *,
    selector: str = "s1",
    algorithm: str = "rsa-sha256",
    form: str = "relaxed/simple",
    fields: Sequence[str] = FIELDS,
    length: bool = False,
    identity: str | None = None,
    bits: int = 2048,
    number: int = 0,
) -> bytes:
    """`message` with a DKIM-Signature on top."""
    header_form, body_form = form.encode().split(b"/")

    def by_openssl(digest: Any, _key: object) -> bytes:
        hashed = _HASHES[digest.name]()
        return rsa_key(bits, number).sign(digest.digest(), PKCS1v15(), Prehashed(hashed))

    # dkimpy's own arithmetic is Python, and takes ten times as long as all the rest.
    with patch.object(dkim, "RSASSA_PKCS1_v1_5_sign", by_openssl):
        signature = dkim.sign(
            message,
            selector.encode(),
            domain.encode(),
            _private(algorithm, bits, number),
            identity=None if identity is None else identity.encode(),
            canonicalize=(header_form, body_form),
            signature_algorithm=algorithm.encode(),
            include_headers=[name.encode() for name in fields],
            length=length,
        )
    return bytes(signature) + message


def _private(algorithm: str, bits: int, number: int) -> bytes:
    if algorithm.startswith("rsa"):
        return rsa_key(bits, number).private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
    return base64.b64encode(ed25519_key().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
