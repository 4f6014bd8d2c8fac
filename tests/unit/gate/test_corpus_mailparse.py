"""Messages that pass the gate have no cleartext for mailparse, the MIME parser of Delta Chat."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.corpus import ENCRYPTED, rule
from tests.corpus.by_mailparse import Passed, passed, recorded

VERSION_1 = {
    hashlib.sha256(text).hexdigest() for text in (b"Version: 1", b"version: 1", b"Version:1", b"VERSION: 1")
}
STEPS = {
    hashlib.sha256(text).hexdigest()
    for step in ("vc-request", "vg-request")
    for text in (f"Secure-Join: {step}".encode(), f"secure-join: {step}".encode())
}


def leaves(tree: Any) -> list[tuple[str, str]]:
    """Type and hash of each part; parts of parts are none of those that may be there."""
    assert all(part["parts"] == [] for part in tree["parts"])
    return [(part["type"], part["body"]) for part in tree["parts"]]


@pytest.mark.slow
def test_every_message_that_passes_is_to_mailparse_what_it_is_to_the_gate() -> None:
    messages = list(passed())
    record = recorded()
    missing = [one.name for one in messages if one.key not in record]
    assert missing == [], "run: python -m tests.corpus mailparse"
    wrong = [one.name for one in messages if not agrees(one, record[one.key])]
    assert wrong == []
    # Enough to prove something: samples as they are, and spoilt ones.
    assert sum(one.kind == ENCRYPTED for one in messages) > 250
    assert any(one.kind != ENCRYPTED for one in messages)


def agrees(message: Passed, tree: Any) -> bool:
    if tree is None or not tree["type"].startswith("multipart/"):
        return False
    found = leaves(tree)
    if message.kind != ENCRYPTED:
        return len(found) == 1 and found[0][0] == "text/plain" and found[0][1] in STEPS
    # A comment belongs to the type, to mailparse; it shows no part because of it.
    types = [kind.partition("(")[0].strip() for kind in (tree["type"], *(kind for kind, _ in found))]
    return (
        types == ["multipart/encrypted", "application/pgp-encrypted", "application/octet-stream"]
        and found[0][1] in VERSION_1
        and found[1][1] in payloads(message.octets)
    )


def payloads(octets: bytes) -> set[str]:
    """The hash of the second part, decoded, as other readers have it."""
    trees = (reader(octets) for reader in rule.READERS)
    return {
        hashlib.sha256(tree.parts[1].octets.strip(b" \t\r\n")).hexdigest()
        for tree in trees
        if len(tree.parts) == 2
    }
