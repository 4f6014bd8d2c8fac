"""The largest message: what a user may send arrives by both roads, and one octet more is refused at once.

A file of 50 MiB is what users call 50 MB; the largest message has room for it.
"""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest

from tests import messages, packets
from tests.chat import firewall, hops, journal, pgp, relay, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address
from tests.chat.stage import Stage
from tests.e2e.conftest import Login
from tests.e2e.doors import Door
from tests.lab.host import LabHost

LARGEST = 75_497_472
# What a peer may send: a mebibyte more.
LARGEST_OF_PEERS = 76_546_048
FILE = 52_428_800
SECONDS = 120.0


def large(sender: str, mid: str, size: int) -> bytes:
    """An encrypted message of so many octets, of which a field that Postfix removes has a few hundred."""
    around = len(messages.sealed(b""))
    # A line of 64 characters and its end carry 48 octets.
    octets = packets.pkesk() + packets.seipd(size=(size - around - 400) * 48 // 66)
    message = messages.encrypted(packets.armored(octets), sender=sender)
    message = message.replace(b"<1e240@localhost>", f"<{mid}>".encode(), 1)
    return b"X-Letter: " + b"x" * (size - len(message) - 12) + b"\r\n" + message


def test_a_file_of_50_mib_arrives_octet_for_octet(stage: Stage, a: LabHost, b: LabHost) -> None:
    sender, receiver = stage.newcomer(a.domain), stage.newcomer(b.domain)
    stage.acquaint(receiver, sender)
    began = time.time()
    assert stage.file(sender, receiver, FILE, SECONDS).trace.road == "https"
    print(f"{FILE} octets in {time.time() - began:.1f} s")


@pytest.mark.usefixtures("_https_afresh")
@pytest.mark.parametrize("road", ["https", "smtp"])
def test_the_largest_message_arrives(road: str, a: LabHost, b: LabHost, writer: Login, reader: Login) -> None:
    mid = pgp.message_id()
    message = large(writer[0], mid, LARGEST)
    assert len(message) == LARGEST
    with firewall.closed(b, 443, "refuse") if road == "smtp" else nullcontext():
        began = time.time()
        assert smtp.submit(a.ip, writer, [reader[0]], message).code == 250
        with ImapMailbox(b.ip, *reader) as mailbox:
            found = until("it arrives", lambda: mailbox.find(mid), SECONDS, every=0.5)
    print(f"{LARGEST} octets by {road} in {time.time() - began:.1f} s")
    assert found.partition(b"\r\n\r\n")[2] == message.partition(b"\r\n\r\n")[2]
    # Postfix notes a delivery after Dovecot has made it.
    roads = until("it is logged", lambda: hops.inbound_roads(journal.read(b, began), {reader[0]}), SECONDS)
    assert roads == [road]


def test_a_user_is_told_the_limit_and_of_a_message_above_it(a: LabHost, writer: Login) -> None:
    recipient = fresh_address("peer.lab")
    with smtp.logged_in(a.ip, writer) as session:
        session.ehlo()
        assert session.esmtp_features["size"] == str(LARGEST)
        assert session.docmd("MAIL", f"FROM:<{writer[0]}> SIZE={LARGEST}")[0] == 250
        session.rset()
        code, words = session.docmd("MAIL", f"FROM:<{writer[0]}> SIZE={LARGEST + 1}")
        assert (code, words[:5]) == (552, b"5.3.4")
    reply = smtp.submit(a.ip, writer, [recipient], large(writer[0], pgp.message_id(), LARGEST + 1))
    assert (reply.stage, reply.line[:9]) == ("DATA", "552 5.3.4")
    assert relay.queued(a, recipient) == []


def test_a_peer_is_told_of_a_message_above_the_limit(door: Door, b: LabHost, reader: Login) -> None:
    mid = pgp.message_id("old.lab")
    message = large("friend@old.lab", mid, LARGEST_OF_PEERS + 1)
    assert door(b, "friend@old.lab", [reader[0]], message)[:9] == "552 5.3.4"
    with ImapMailbox(b.ip, *reader) as mailbox:
        assert mailbox.find(mid) is None
