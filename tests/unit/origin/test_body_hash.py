"""The DKIM body hash, computed in chunks, is the one that dkimpy computes of the whole body."""

from __future__ import annotations

import base64
import hashlib

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given
from hypothesis import strategies as st

from chatmail_milter.origin.canonical import BodyHash

WHOLE = {"simple": Simple, "relaxed": Relaxed}
BODIES = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r\n", b"a", b"\r", b"\n"]), max_size=30).map(
    b"".join
)


def digest(form: str, body: bytes, size: int = 65535) -> bytes:
    body_hash = BodyHash(form)
    for at in range(0, len(body), size):
        body_hash.feed(body[at : at + size])
    return body_hash.digest()


@pytest.mark.parametrize("form", WHOLE)
@given(body=BODIES, size=st.integers(1, 8))
def test_pieces_make_no_difference(form: str, body: bytes, size: int) -> None:
    assert digest(form, body, size) == hashlib.sha256(WHOLE[form].canonicalize_body(body)).digest()


# RFC 6376, 3.4.3 and 3.4.4 have the hashes of the empty body; the others are of its example (3.4.5).
@pytest.mark.parametrize(
    ("form", "body", "expected"),
    [
        ("simple", b"", "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
        ("relaxed", b"", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
    ],
)
def test_the_standard_s_examples(form: str, body: bytes, expected: str) -> None:
    assert base64.b64encode(digest(form, body)).decode() == expected


@pytest.mark.parametrize(
    ("form", "same"),
    [
        ("simple", b" C \r\nD \t E\r\n"),
        ("relaxed", b" C\r\nD E\r\n"),
    ],
)
def test_the_standard_s_forms(form: str, same: bytes) -> None:
    assert digest(form, b" C \r\nD \t E\r\n\r\n\r\n") == hashlib.sha256(same).digest()


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("filler", [b"\r\n", b" ", b"\t", b"\r", b"\n", b"\r\n\n", b" \r", b"a"])
def test_what_is_held_does_not_grow(form: str, filler: bytes) -> None:
    body_hash = BodyHash(form)
    for _ in range(50):
        body_hash.feed(filler * 1000)
        assert len(body_hash._held) <= 2
