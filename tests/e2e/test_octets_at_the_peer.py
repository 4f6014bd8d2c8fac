"""The octets that a peer receives for messages and bounces, by HTTPS and by SMTP.

docs/wire.md, 4: nothing that tells of the user's device or of our inside, and signatures that hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.chat import capture, mxdeliv, pgp, relay, signature, smtp
from tests.chat.capture import Captured, CapturingPeer
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address
from tests.e2e.conftest import Login
from tests.lab import Lab, ca
from tests.lab.host import LabHost
from tests.lab.plan import CONTROL_ADDRESS

PEER = "peer.lab"
DAVE = f"dave12345@{PEER}"
SECONDS = 30.0

# What must not be in any header, and what no octet of ours may say: the client's address, a hop inside.
TELLTALES = (b"received", b"x-originating-ip", b"user-agent", b"x-mailer", b"authentication-results")
INSIDE = (CONTROL_ADDRESS.encode(), b"127.0.0.1", b"localhost", b"my-laptop", b"192.0.2.7", b"(Postfix)")
# Spellings that Postfix takes for the same fields (the message itself has the ordinary ones), and odd octets.
DISGUISED = (
    b"RECEIVED: from my-laptop (192.0.2.7)\r\n"
    b"Received : from my-laptop (192.0.2.7)\r\n"
    b"x-originating-ip:\r\n [192.0.2.7]\r\n"
    b"User-agent\t: tests\r\n"
    b"X-MAILER: tests\r\n\tof 192.0.2.7\r\n"
    b"X-Odd: a\rb\0c\nd: e\r\n"
)
AUTOCRYPT = b"Autocrypt: addr=someone; keydata=aGVsbG8=\r\n"


@pytest.fixture(scope="module", params=["smtp after https", "https", "smtp"])
def peer(request: pytest.FixtureRequest, lab: Lab, a: LabHost) -> Iterator[CapturingPeer]:
    """peer.lab, capturing what _a.lab sends it by one of the roads."""
    client = lab.host("client").host
    if request.param == "https":
        relay.forget_endpoints(a)
        with capture.https_peer(client, *ca.issue(lab.paths.ca, [PEER])) as peer:
            yield peer
    elif request.param == "smtp after https":
        # Nobody listens on 443.
        relay.forget_endpoints(a)
        with capture.smtp_peer(client) as peer:
            yield peer
    else:
        relay.operate(a, "route", "set", PEER, "--https", "never")
        try:
            with capture.smtp_peer(client) as peer:
                yield peer
        finally:
            relay.operate(a, "route", "remove", PEER)
    relay.forget_endpoints(a)


@pytest.fixture(scope="module")
def from_user(peer: CapturingPeer, a: LabHost, writer: Login) -> Captured:
    """A message of a user's to Dave at peer.lab."""
    mid = pgp.message_id()
    message = AUTOCRYPT + DISGUISED + pgp.encrypted(writer[0], DAVE, mid)
    assert smtp.submit(a.ip, writer, [DAVE], message).code == 250
    return peer.next(SECONDS, mid)


@pytest.fixture(scope="module")
def bounce(peer: CapturingPeer, lab: Lab, a: LabHost, writer: Login) -> Captured:
    """What Dave gets for a message of which _a.lab could deliver one copy of two."""
    mid = pgp.message_id()
    message = signature.sign(pgp.encrypted(DAVE, writer[0], mid), PEER, lab.paths)
    assert mxdeliv.post(a, DAVE, [writer[0], fresh_address(a.domain)], message).status == 200
    return peer.next(SECONDS, mid)


@pytest.fixture(params=["from user", "bounce"])
def crossed(request: pytest.FixtureRequest, from_user: Captured, bounce: Captured) -> Captured:
    """Each of the two."""
    return {"from user": from_user, "bounce": bounce}[request.param]


def names(message: bytes) -> list[bytes]:
    header = message.partition(b"\r\n\r\n")[0]
    return [name.strip().lower() for name in re.findall(rb"^([^\s:][^:]*):", header, re.MULTILINE)]


def test_no_field_tells_of_device_or_way(crossed: Captured) -> None:
    assert [name for name in names(crossed.message) if name in TELLTALES] == []


def test_nothing_inside_shows(from_user: Captured) -> None:
    assert [word for word in INSIDE if word in from_user.head + from_user.message] == []


def test_header_of_a_bounce_shows_nothing_inside(bounce: Captured) -> None:
    # Its body quotes the header of what Dave sent, which says what Dave's own server is called.
    header = bounce.message.partition(b"\r\n\r\n")[0]
    assert [word for word in INSIDE if word in bounce.head + header] == []


def test_subject_of_a_user_is_hidden(from_user: Captured) -> None:
    assert re.findall(rb"(?im)^subject *:.*", from_user.message) == [b"Subject: [...]\r"]


def test_every_line_ends_with_crlf(crossed: Captured) -> None:
    assert re.search(rb"(?<!\r)\n|\r(?!\n)", crossed.message) is None
    assert crossed.message.endswith(b"\r\n")


def test_signature_holds(crossed: Captured, a: LabHost) -> None:
    assert signature.verified(crossed.message) == [a.domain]
    (tags,) = signature.signatures(crossed.message)
    assert tags["a"] == "rsa-sha256"


@pytest.mark.parametrize("field", [b"From: <mallory@peer.lab>", AUTOCRYPT.strip()], ids=["from", "autocrypt"])
def test_field_that_somebody_adds_breaks_the_signature(crossed: Captured, field: bytes) -> None:
    (tags,) = signature.signatures(crossed.message)
    name = field.partition(b":")[0].decode().lower()
    assert tags["h"].lower().split(":").count(name) == names(crossed.message).count(name.encode()) + 1
    assert signature.verified(field + b"\r\n" + crossed.message) == []


def test_header_that_names_a_thousand_people_is_signed(
    peer: CapturingPeer, a: LabHost, writer: Login
) -> None:
    # OpenDKIM would let one of more than 64 KiB pass by unsigned, were it not told otherwise.
    people = b"".join(
        b" somebody-with-a-longer-name-%04d@a-long-domain.somewhere.example,\r\n" % n for n in range(1000)
    )
    copies = b"Cc:" + people + b" last@somewhere.example\r\n"
    assert 65_536 < len(copies) < 100_000
    mid = pgp.message_id()
    message = copies + pgp.encrypted(writer[0], DAVE, mid)
    assert smtp.submit(a.ip, writer, [DAVE], message).code == 250
    assert signature.verified(peer.next(SECONDS, mid).message) == [a.domain]


def test_several_recipients_get_it_as_one_does(peer: CapturingPeer, a: LabHost, writer: Login) -> None:
    erin, mid = f"erin12345@{PEER}", pgp.message_id()
    message = pgp.encrypted(writer[0], DAVE, mid)
    assert smtp.submit(a.ip, writer, [DAVE, erin], message).code == 250
    crossed = peer.next(SECONDS, mid)
    assert [crossed.head.count(one.encode()) for one in (DAVE, erin)] == [1, 1]
    assert [name for name in names(crossed.message) if name in TELLTALES] == []
    assert [word for word in INSIDE if word in crossed.head + crossed.message] == []
    assert signature.verified(crossed.message) == [a.domain]


def test_bounce_comes_from_nobody_and_is_taken_by_peers(bounce: Captured, b: LabHost, reader: Login) -> None:
    assert re.search(rb"(?im)^(x-mail-from: *\r|mail from:<>)", bounce.head)
    assert mxdeliv.post(b, None, [reader[0]], bounce.message).line.startswith("250 ")


def test_no_more_is_said_around_it_than_must_be(from_user: Captured, writer: Login, a: LabHost) -> None:
    first, *said = from_user.head.decode().split("\r\n")
    if first == "POST /mxdeliv HTTP/1.1":
        told = dict(field.split(": ", 1) for field in said[:-2])
        assert (told["Host"], told["X-Mail-From"], told["X-Mail-To"]) == (PEER, writer[0], DAVE)
        accepted = {"Accept", "Accept-Encoding", "User-Agent", "Content-Length"}
        assert set(told) == {"Host", "X-Mail-From", "X-Mail-To"} | accepted
    else:
        assert first == f"EHLO {a.domain}"
        assert [re.sub(r" SIZE=\d+| BODY=8BITMIME", "", one) for one in said] == [
            f"MAIL FROM:<{writer[0]}>", f"RCPT TO:<{DAVE}>", "DATA", "",
        ]  # fmt: skip


def test_no_bounce_goes_to_a_sender_who_is_not_the_author(
    peer: CapturingPeer, lab: Lab, a: LabHost, writer: Login
) -> None:
    mid = pgp.message_id()
    author, nobody = f"erin12345@{PEER}", fresh_address(a.domain)
    message = signature.sign(pgp.encrypted(author, writer[0], mid), PEER, lab.paths)
    # So it is not taken for a recipient whose refusal only a bounce could tell: by SMTP each has its reply.
    assert mxdeliv.post(a, DAVE, [writer[0], nobody], message).status == 406
    assert smtp.deliver(a.ip, DAVE, [nobody], message).stage == "RCPT"
    assert smtp.deliver(a.ip, DAVE, [writer[0]], message).code == 250
    with ImapMailbox(a.ip, *writer) as mailbox:
        found = until("the message arrives", lambda: mailbox.find(mid), SECONDS)
        assert sum(mid.encode() in one for one in mailbox.messages()) == 1
    assert found.startswith(b"Return-Path: <>\r\n")
    assert peer.nothing(mid)
