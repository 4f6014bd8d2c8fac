"""Samples by Sequoia (pysequoia): keys of versions 4 and 6 (RFC 9580), post-quantum ones, passwords."""

from __future__ import annotations

import importlib.metadata
import random
from collections.abc import Iterator

import pysequoia
from pysequoia import ArmorKind, EncryptionAlgorithm, Profile, SignatureMode, SigningAlgorithm, Tsk

from tests.corpus.manifest import ALICE, BOB
from tests.corpus.wrapped import TEXT, Made, SampleFolder


def make() -> Iterator[Made]:
    room = SampleFolder("sequoia", f"pysequoia {importlib.metadata.version('pysequoia')}")
    old = Tsk.generate(user_id=ALICE, profile=Profile.RFC4880)
    new = Tsk.generate(user_id=BOB, profile=Profile.RFC9580)
    late = Tsk.generate(
        user_id=BOB,
        profile=Profile.RFC9580,
        signing_algorithm=SigningAlgorithm.MLDSA65_Ed25519,
        encryption_algorithm=EncryptionAlgorithm.MLKEM768_X25519,
    )
    v4, v6, quantum = (key.extract_certificate() for key in (old, new, late))
    encrypt = pysequoia.encrypt
    noise = random.Random(0).randbytes(10_000_000)  # noqa: S311 (it hides nothing)

    room.armored(
        "v4", "a key of version 4, which says that it takes SEIPD version 2", encrypt(TEXT, recipients=[v4])
    )
    room.armored("v6", "a key of version 6: PKESK 6, SEIPD version 2", encrypt(TEXT, recipients=[v6]))
    room.armored("v4-and-v6", "keys of both versions", encrypt(TEXT, recipients=[v4, v6]))
    room.armored("post-quantum", "ML-KEM-768 with X25519", encrypt(TEXT, recipients=[quantum]))
    room.armored("password", "a password alone", encrypt(TEXT, passwords=["secret"]))
    room.armored("two-passwords", "two passwords", encrypt(TEXT, passwords=["secret", "other"]))
    room.armored(
        "password-and-v6", "a password and a key", encrypt(TEXT, recipients=[v6], passwords=["secret"])
    )
    room.armored("v4-signed", "signed inside", encrypt(TEXT, recipients=[v4], signer=old.signer()))
    room.armored("v6-signed", "signed inside", encrypt(TEXT, recipients=[v6], signer=new.signer()))
    room.armored("v4-file", "30 kB", encrypt(noise[:30_000], recipients=[v4]))
    room.armored("password-file", "20 kB under a password", encrypt(noise[:20_000], passwords=["secret"]))
    room.armored("v6-large", "10 MB: partial lengths", encrypt(noise, recipients=[v6]))
    room.binary("v6-binary", "packets as they are", encrypt(TEXT, recipients=[v6], armor=False))
    room.base64("v6-base64", "packets in Base64", encrypt(TEXT, recipients=[v6], armor=False))

    signed = pysequoia.sign(old.signer(), TEXT)
    room.refused("v4-sign-only", "a signature and the text it is of", signed)
    room.refused("v6-sign-only", "the same of version 6", pysequoia.sign(new.signer(), TEXT))
    clear = pysequoia.sign(old.signer(), TEXT, mode=SignatureMode.CLEAR)
    room.refused("clearsigned", "cleartext signature framework", clear)
    room.text("inline-clearsigned", "a signed plain text", clear)
    room.refused("public-key", "a key where the ciphertext belongs", str(v6).encode())
    _after(room, encrypt(TEXT, recipients=[v6], armor=False), pysequoia.sign(old.signer(), TEXT, armor=False))
    yield from room.made


def _after(room: SampleFolder, sealed: bytes, readable: bytes) -> None:
    armored = pysequoia.armor(sealed + readable, ArmorKind.Message)
    text = armored if isinstance(armored, bytes) else str(armored).encode()
    room.refused("v6-then-signed", "a signed text after the SEIPD", text)
