"""Signatures that count on a real relay: by OpenDKIM's result, else by our own check (docs/gate.md, 2)."""

from __future__ import annotations

import base64
import re
from functools import partial

import dkim
import pytest

from tests.chat import carol, pgp, signature, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.e2e.conftest import Login
from tests.e2e.doors import Door
from tests.lab import Lab, signers
from tests.lab.host import LabHost
from tests.lab.zone import BROKEN

PEER, OTHER = "peer.lab", "other.lab"
AUTHOR = f"someone12345@{PEER}"
NO_VALID_SIGNATURE = "554 5.7.1 No valid DKIM signature found"
NO_KEY_YET = "451 4.7.5 DKIM key not found, try again later"

# What readers show or decide by, as our own signatures must cover it once more than it is there.
SHOWN = (
    *("from", "to", "cc", "subject", "date", "reply-to", "sender", "message-id", "in-reply-to", "references"),
    *("content-type", "content-transfer-encoding", "mime-version", "autocrypt", "auto-submitted"),
    *("chat-version", "secure-join"),
)


def _message(reader: Login) -> bytes:
    return pgp.encrypted(AUTHOR, reader[0], pgp.message_id())


def _signed(message: bytes, lab: Lab, **how: object) -> bytes:
    """`message` signed by peer.lab, as dkimpy's `sign` is told."""
    arguments: dict[str, object] = {
        "selector": b"lab",
        "domain": PEER.encode(),
        "privkey": signers.private_key(lab.paths, PEER).read_bytes(),
        "include_headers": [b"from", b"date", b"subject"],
        **how,
    }
    return bytes(dkim.sign(message, **arguments)) + message


def test_below_five_of_another_domain(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    message = signature.sign(_message(reader), PEER, lab.paths)
    for _ in range(5):
        message = signature.sign(message, OTHER, lab.paths)
    assert door(b, AUTHOR, [reader[0]], message).startswith("250 ")
    altered = message.replace(b"Version: 1\r\n", b"Version: 1 \r\n")
    assert door(b, AUTHOR, [reader[0]], altered) == NO_VALID_SIGNATURE


@pytest.mark.parametrize("form", [b"simple", b"relaxed"])
def test_in_simple_and_relaxed_form(door: Door, form: bytes, lab: Lab, b: LabHost, reader: Login) -> None:
    message = _message(reader).replace(b"Subject:", b"X-Odd:no  blank \r\nX-Folded:\r\n\t a  b\r\nSubject:")
    covered = [b"from", b"date", b"subject", b"x-odd", b"x-folded"]
    signed = _signed(message, lab, canonicalize=(form, form), include_headers=covered)
    for _ in range(4):
        signed = signature.sign(signed, OTHER, lab.paths)
    assert door(b, AUTHOR, [reader[0]], signed).startswith("250 ")


def test_key_in_rsa_public_key_form(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    signed = signature.sign(_message(reader), PEER, lab.paths, selector=signers.PKCS1)
    assert door(b, AUTHOR, [reader[0]], signed).startswith("250 ")
    altered = signed.replace(b"Version: 1\r\n", b"Version: 1 \r\n")
    assert door(b, AUTHOR, [reader[0]], altered) == NO_VALID_SIGNATURE


def test_ed25519(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    der = "".join(signers.ed25519_key(lab.paths).read_text().splitlines()[1:-1])
    # The last 32 octets of PKCS #8 are the key itself (RFC 8410, 7).
    key = base64.b64encode(base64.b64decode(der)[-32:])
    how = {"privkey": key, "signature_algorithm": b"ed25519-sha256", "selector": b"ed25519"}
    assert door(b, AUTHOR, [reader[0]], _signed(_message(reader), lab, **how)).startswith("250 ")


@pytest.mark.parametrize(
    "how",
    [
        {"signature_algorithm": b"rsa-sha1"},
        {"length": True},
        {"include_headers": [b"from"]},
        {"include_headers": [b"from", b"subject", b"to", b"content-type"]},
        {"selector": signers.REVOKED.encode()},
        {"selector": signers.TWICE.encode()},
    ],
    ids=["SHA-1", "body length", "From alone", "no Date, no Message-ID", "revoked key", "two records"],
)
def test_what_never_counts(door: Door, how: dict[str, object], lab: Lab, b: LabHost, reader: Login) -> None:
    signed = _signed(_message(reader), lab, **how)
    assert door(b, AUTHOR, [reader[0]], signed) == NO_VALID_SIGNATURE
    assert door(b, AUTHOR, [reader[0]], signature.sign(signed, PEER, lab.paths)).startswith("250 ")


def test_key_that_is_not_there_yet(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    signed = signature.sign(_message(reader), PEER, lab.paths, selector=signers.ABSENT)
    assert door(b, AUTHOR, [reader[0]], signed) == NO_KEY_YET


def test_signature_of_a_domain_whose_dns_fails_is_no_harm(
    door: Door, lab: Lab, b: LabHost, reader: Login
) -> None:
    message = signature.sign(_message(reader), PEER, lab.paths)
    for _ in range(4):
        message = signature.sign(message, BROKEN, lab.paths)
    assert door(b, AUTHOR, [reader[0]], message).startswith("250 ")


def test_nothing_can_be_added_to_our_own_mail(a: LabHost, mta: LabHost, writer: Login) -> None:
    mid = smtp.send(a.ip, writer, CAROL)
    message = until("the message arrives", partial(carol.find, mta, mid), 30)
    (ours,) = [one for one in signature.signatures(message) if one["d"] == a.domain]
    covered = ours["h"].lower().split(":")
    header = message.partition(b"\r\n\r\n")[0].decode("latin-1").lower()
    for name in SHOWN:
        present = len(re.findall(rf"^{name}:", header, re.MULTILINE))
        assert covered.count(name) == present + 1, name
    assert signature.verified(message) == [a.domain]
    for name in SHOWN:
        assert signature.verified(f"{name}: x\r\n".encode() + message) == [], name
