"""Lines over 998 octets, which RFC 5322, 2.1.1 forbids and apps write, stay as they were signed.

On each way out (HTTPS, SMTP, to a neighbour) and in (port 25, `/mxdeliv`). What of this a gate refuses is in
`test_rows`.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator

import pytest

from tests import packets
from tests.chat import capture, firewall, pgp, relay, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox, new_account
from tests.e2e.conftest import Login
from tests.e2e.doors import Door
from tests.lab import Lab
from tests.lab.host import LabHost

PEER = "peer.lab"
SENDER = f"someone12345@{PEER}"
SECONDS = 30.0

# Octets of one line: around the most that lmtp(8) and smtp(8) leave whole by default (998), around what
# smtpd(8) reads at once (line_length_limit, 2048), and much more.
LENGTHS = (998, 999, 2048, 2049, 5000, 16_000)


def lines(length: int, login: Login) -> bytes:
    """Two fields of one line each: one of words, one of little but Base64."""
    references = b"References: <0@client.invalid>"
    one = b" <0123456789@client.invalid>"
    more = (length - len(references)) // len(one)
    # The first identifier takes what is left, so that all of them are whole.
    left = length - len(references) - more * len(one)
    references = references.replace(b"<0", b"<0" + b"0" * left) + one * more
    autocrypt = f"Autocrypt: addr={login[0]}; prefer-encrypt=mutual; keydata=".encode()
    room = length - len(autocrypt)
    # Base64 comes in whole fours; blanks take what is left.
    key = base64.b64encode(packets.noise(room // 4 * 3))
    return references + b"\r\n" + autocrypt + b" " * (room % 4) + key + b"\r\n"


def unwrapped(message: bytes) -> bytes:
    """The same with all of its Base64 in one line, as some programs write it."""
    head, begin, rest = message.partition(b"-----BEGIN PGP MESSAGE-----\r\n\r\n")
    base64, checksum, tail = rest.partition(b"\r\n=")
    return head + begin + base64.replace(b"\r\n", b"") + checksum + tail


def crossed(message: bytes, expected: bytes) -> bool:
    """Whether the fields are there, unchanged."""
    return all(b"\r\n" + line + b"\r\n" in b"\r\n" + message for line in expected.splitlines())


@pytest.fixture
def login(a: LabHost) -> Login:
    """A sender of its own, so that no limit by time is met."""
    return new_account(a)


@pytest.fixture
def _afresh(a: LabHost) -> Iterator[None]:
    relay.forget_endpoints(a)
    yield
    relay.forget_endpoints(a)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("road", ["https", "smtp"])
@pytest.mark.usefixtures("_afresh")
def test_they_cross_between_relays(
    a: LabHost, b: LabHost, login: Login, reader: Login, road: str, length: int
) -> None:
    mid, fields = pgp.message_id(), lines(length, login)
    message = fields + pgp.encrypted(login[0], reader[0], mid)
    with firewall.closed(b, 443 if road == "smtp" else 25, "refuse"):
        assert smtp.submit(a.ip, login, [reader[0]], message).code == 250
        with ImapMailbox(b.ip, *reader) as mailbox:
            # That it arrives says that the signature held: the other relay refuses it otherwise.
            found = until("the message arrives", lambda: mailbox.find(mid), 2 * SECONDS)
    assert crossed(found, fields)


@pytest.mark.parametrize("road", ["https", "smtp"])
@pytest.mark.usefixtures("_afresh")
def test_unwrapped_armor_crosses(a: LabHost, b: LabHost, login: Login, reader: Login, road: str) -> None:
    mid = pgp.message_id()
    message = unwrapped(pgp.encrypted(login[0], reader[0], mid, secrets.token_hex(4000)))
    body = message.partition(b"\r\n\r\n")[2]
    assert max(map(len, body.splitlines())) > 998
    with firewall.closed(b, 443 if road == "smtp" else 25, "refuse"):
        assert smtp.submit(a.ip, login, [reader[0]], message).code == 250
        with ImapMailbox(b.ip, *reader) as mailbox:
            found = until("the message arrives", lambda: mailbox.find(mid), 2 * SECONDS)
    assert found.endswith(body)


def test_a_field_of_many_recipients_crosses(a: LabHost, b: LabHost, login: Login, reader: Login) -> None:
    # 58,000 octets: at 60,000 Postfix cuts a field off where there are milters (cleanup_message.c).
    mid = pgp.message_id()
    recipients = b",\r\n ".join([b"<%s>" % reader[0].encode(), *(b"<%047d@a.lab>" % n for n in range(999))])
    message = pgp.encrypted(login[0], reader[0], mid).replace(b"<%s>" % reader[0].encode(), recipients, 1)
    assert smtp.submit(a.ip, login, [reader[0]], message).code == 250
    with ImapMailbox(b.ip, *reader) as mailbox:
        assert recipients in until("the message arrives", lambda: mailbox.find(mid), 2 * SECONDS)


def test_by_smtp_the_signature_covers_what_crosses_the_wire(lab: Lab, a: LabHost, login: Login) -> None:
    mid, fields = pgp.message_id(), lines(5000, login)
    with capture.smtp_peer(lab.host("client").host) as peer:
        assert smtp.submit(a.ip, login, [SENDER], fields + pgp.encrypted(login[0], SENDER, mid)).code == 250
        found = peer.next(2 * SECONDS, mid).message
    assert crossed(found, fields)
    assert signature.verified(found) == [a.domain]


def test_they_reach_a_neighbour(a: LabHost, login: Login) -> None:
    mid, fields = pgp.message_id(), lines(5000, login)
    assert smtp.submit(a.ip, login, [login[0]], fields + pgp.encrypted(login[0], login[0], mid)).code == 250
    with ImapMailbox(a.ip, *login) as mailbox:
        assert crossed(until("the message arrives", lambda: mailbox.find(mid), SECONDS), fields)


@pytest.mark.parametrize("length", LENGTHS)
def test_they_come_in(lab: Lab, b: LabHost, reader: Login, door: Door, length: int) -> None:
    mid, fields = pgp.message_id(), lines(length, (SENDER, ""))
    message = fields + pgp.encrypted(SENDER, reader[0], mid)
    signed = signature.sign(message, PEER, lab.paths, besides=[b"references", b"autocrypt"])
    assert door(b, SENDER, [reader[0]], signed).startswith("250 2.0.0 ")
    with ImapMailbox(b.ip, *reader) as mailbox:
        assert crossed(until("the message arrives", lambda: mailbox.find(mid), SECONDS), fields)
