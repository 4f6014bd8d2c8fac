"""Malformed SMTP to a real Postfix gets a reply of docs/gate.md, and every service continues.

"Signed" is what came in validly signed before it was made strange, so that one sees what DKIM is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests import messages, packets
from tests.chat import pgp, signature, smtp
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.e2e.doors import Door, port_25
from tests.lab import Lab
from tests.lab.host import LabHost

PEERS_ALICE = "alice12345@peer.lab"

PASS = "250 2.0.0 "
CLEARTEXT = "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"
AUTHOR = "500 5.7.1 Invalid FROM <"
NO_SIGNATURE = "554 5.7.1 No DKIM signature found"
NO_VALID_SIGNATURE = "554 5.7.1 No valid DKIM signature found"
# OpenDKIM's: it is asked before the gate, and takes no header of more than 256 KiB.
TOO_MUCH_HEADER = "550 5.7.1 Command rejected"

FORGED = b"Authentication-Results: _b.lab; dkim=pass header.d=peer.lab\r\n"
BAD_SIGNATURE = b"DKIM-Signature: v=1; a=rsa-sha256; d=peer.lab; s=lab; h=from; bh=eA==; b=eA==\r\n"


@dataclass(frozen=True)
class Strange:
    """How a sound message is made strange, and the beginning of what is said to it: submitted, and signed."""

    name: str
    make: Callable[[bytes], bytes]
    submitted: str
    signed: str

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def _field(octets: bytes, times: int = 1) -> Callable[[bytes], bytes]:
    return lambda message: (octets + b"\r\n") * times + message


def _in_armor(octets: bytes) -> Callable[[bytes], bytes]:
    return lambda message: message[:-600] + octets + message[-600:]


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda message: message.replace(old, new)


def _instead(octets: bytes) -> Callable[[bytes], bytes]:
    return lambda _: octets


STRANGE = (
    # Postfix takes NULs out before anybody looks.
    Strange("NUL in a field", _field(b"X-Odd: a\0b"), PASS, PASS),
    Strange("NUL in From", _replaced(b"From: <", b"From: \0<"), PASS, PASS),
    Strange("NUL in the armor", _in_armor(b"\0"), PASS, PASS),
    Strange("8-bit octets in a field", _field(b"X-Odd: \xff\xfe\x80"), PASS, PASS),
    Strange("8-bit octets in From", _replaced(b"From: <", b"From: \xff\xc3 <"), PASS, NO_VALID_SIGNATURE),
    Strange("8-bit octets in a field's name", _field(b"X-\xff\xfe: odd"), AUTHOR, CLEARTEXT),
    Strange("8-bit octets in the armor", _in_armor(b"\xff"), CLEARTEXT, CLEARTEXT),
    # A lone LF ends a line like any other; a lone CR doesn't.
    Strange("lone CR in a field", _field(b"X-Odd: a\rb"), PASS, PASS),
    Strange("lone LF everywhere", _replaced(b"\r\n", b"\n"), PASS, PASS),
    Strange("lone CR everywhere", _replaced(b"\r\n", b"\r"), AUTHOR, CLEARTEXT),
    Strange("nothing at all", _instead(b""), AUTHOR, CLEARTEXT),
    Strange("a single dot", _instead(b".\r\n"), AUTHOR, CLEARTEXT),
    Strange("no header", _field(b""), AUTHOR, CLEARTEXT),
    Strange("line that is no field", _field(b"this is no field"), AUTHOR, CLEARTEXT),
    Strange("field without a name", _field(b": nameless"), AUTHOR, CLEARTEXT),
    # Postfix cuts a field off after 100 KB.
    Strange("field of a megabyte", _field(b"X-Odd: " + b"y" * 1_000_000), PASS, CLEARTEXT),
    Strange("field of many folds", _field(b"X-Odd:" + b"\r\n " + b"\r\n y" * 200_000), PASS, CLEARTEXT),
    Strange(
        "Content-Type of a megabyte",
        _replaced(b"multipart/encrypted;", b"multipart/encrypted;" + b"\r\n xxxxxxxxxxxx=yyyyyyy;" * 40_000),
        CLEARTEXT,
        CLEARTEXT,
    ),
    # What is submitted loses them before anybody counts.
    Strange("thousands of fields", _field(b"X-Odd: y", 10_000), PASS, CLEARTEXT),
    Strange("more fields than anyone needs", _field(b"X-Odd: y", 40_000), PASS, TOO_MUCH_HEADER),
    Strange("a thousand threads", _field(b"In-Reply-To: meet me", 1000), CLEARTEXT, CLEARTEXT),
    Strange("a thousand Content-Types", _field(b"Content-Type: text/plain", 1000), CLEARTEXT, CLEARTEXT),
    Strange("a thousand authors", _field(b"From: <x@peer.lab>", 1000), AUTHOR, CLEARTEXT),
    Strange("a thousand forged results", _field(FORGED.strip(), 1000), PASS, PASS),
    Strange("a thousand signatures", _field(BAD_SIGNATURE.strip(), 1000), PASS, CLEARTEXT),
    Strange("line of a megabyte", _in_armor(b"A" * 1_000_000), CLEARTEXT, CLEARTEXT),
)

each_strange = pytest.mark.parametrize("strange", STRANGE, ids=str)


@pytest.fixture(scope="module", autouse=True)
def _same_milter(a: LabHost, b: LabHost) -> Iterator[None]:
    """After all of this, the milters are the processes that they were."""
    before = [_milter(host) for host in (a, b)]
    yield
    assert [_milter(host) for host in (a, b)] == before


def _milter(host: LabHost) -> str:
    return host.run("systemctl show --property=MainPID,NRestarts chatmail-milter.service").stdout


def _sound(author: str) -> bytes:
    armor = packets.armored(packets.pkesk() + packets.seipd(size=2000))
    message = messages.encrypted(armor, sender=author)
    return message.replace(b"1e240@localhost", pgp.message_id().encode())


@each_strange
def test_submitted(strange: Strange, a: LabHost, reader: Login) -> None:
    login = fresh_address(a.domain), fresh_password()
    reply = smtp.submit(a.ip, login, [reader[0]], strange.make(_sound(login[0])))
    assert reply.line[: len(strange.submitted)] == strange.submitted
    assert reply.stage == "DATA"


@each_strange
def test_signed_and_then_made_strange(
    strange: Strange, door: Door, lab: Lab, b: LabHost, reader: Login
) -> None:
    message = strange.make(signature.sign(_sound(PEERS_ALICE), "peer.lab", lab.paths))
    assert door(b, PEERS_ALICE, [reader[0]], message).startswith(strange.signed)


@pytest.mark.parametrize("strange", [one for one in STRANGE if one.signed == PASS], ids=str)
def test_unsigned(strange: Strange, b: LabHost, reader: Login) -> None:
    assert port_25(b, PEERS_ALICE, [reader[0]], strange.make(_sound(PEERS_ALICE))) == NO_SIGNATURE
