"""Samples by PGPy, which knows RFC 4880: keys, passphrases, signatures and plain literals."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterator
from typing import Any

import pgpy
from pgpy.constants import CompressionAlgorithm, SymmetricKeyAlgorithm

from tests.chat.pgp import make_key
from tests.corpus.manifest import ALICE, BOB
from tests.corpus.wrapped import TEXT, Made, SampleFolder


def make() -> Iterator[Made]:
    with warnings.catch_warnings():
        # That it compresses nothing, and the cipher mode of RFC 4880, are as wanted.
        warnings.simplefilter("ignore")
        room = SampleFolder("pgpy", f"PGPy {importlib.metadata.version('PGPy')}")
        _encrypted(room)
        _refused(room)
    yield from room.made


def _encrypted(room: SampleFolder) -> None:
    alice, bob = make_key(ALICE), make_key(BOB)
    cipher = SymmetricKeyAlgorithm.AES256
    session_key = cipher.gen_key()
    shared = alice.pubkey.encrypt(_text(), cipher=cipher, sessionkey=session_key)
    shared = bob.pubkey.encrypt(shared, cipher=cipher, sessionkey=session_key)
    room.armored("curve25519", "one recipient", _armor(alice.pubkey.encrypt(_text())))
    room.armored("two-recipients", "two recipients", _armor(shared))
    room.armored("passphrase", "a passphrase alone", _armor(_text().encrypt("secret")))
    room.binary("binary", "packets as they are", bytes(alice.pubkey.encrypt(_text())))
    room.base64("base64", "packets in Base64", bytes(_text().encrypt("secret")))
    signed = _text()
    signed |= alice.sign(signed)
    room.armored("signed-and-encrypted", "signed inside", _armor(bob.pubkey.encrypt(signed)))


def _refused(room: SampleFolder) -> None:
    alice = make_key(ALICE)
    signed = _text()
    signed |= alice.sign(signed)
    room.refused("literal", "a literal packet", _armor(_text()))
    compressed = pgpy.PGPMessage.new(TEXT.decode(), compression=CompressionAlgorithm.ZIP)
    room.refused("compressed", "a literal packet, compressed", _armor(compressed))
    room.refused("signed", "a signature and the text it is of", _armor(signed))
    clear = pgpy.PGPMessage.new(TEXT.decode(), cleartext=True)
    clear |= alice.sign(clear)
    room.text("clearsigned", "a signed plain text", _armor(clear))
    room.text("inline", "ciphertext in a plain text, without MIME", _armor(_text().encrypt("secret")))
    room.refused("public-key", "a key where the ciphertext belongs", _armor(alice.pubkey))


def _text() -> Any:
    return pgpy.PGPMessage.new(TEXT.decode(), compression=CompressionAlgorithm.Uncompressed)


def _armor(thing: Any) -> bytes:
    return str(thing).encode()
