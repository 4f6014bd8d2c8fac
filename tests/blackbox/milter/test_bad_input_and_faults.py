"""The milter answers malformed input and its own bugs with 451 or the end of the connection, and goes on."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import socket
import struct
from pathlib import Path

import pytest

from tests import messages, packets
from tests.blackbox.milter.installed_milter import GOOD, OUR_FAULT, InstalledMilter, running
from tests.chat.deadline import until
from tests.messages import ALICE, BOB
from tests.milter_client import ALL_ACTIONS, ALL_STEPS, MilterAnswer, MilterClient

FAULTS = Path(__file__).with_name("faults")


def packet(command: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data) + 1) + command + data


HELLO = packet(b"O", struct.pack(">III", 6, ALL_ACTIONS, ALL_STEPS))
ROAD = packet(b"D", b"C{daemon_name}\0submission\0")
CONNECT = packet(b"C", b"client.example\x004" + struct.pack(">H", 4711) + b"192.0.2.7\0")
MAIL, RCPT = packet(b"M", b"<alice@a.example>\0"), packet(b"R", b"<bob@b.example>\0")
FIELD, EOH = packet(b"L", b"From\0<alice@a.example>\0"), packet(b"N")
BODY, END = packet(b"B", b"Hello\r\n"), packet(b"E")
BEGUN = HELLO + ROAD + CONNECT

HOSTILE = {
    "no length": b"\0\0\0\0",
    "no command": b"\0\0\0\1",
    "unknown command": packet(b"Z"),
    "unknown command later": BEGUN + packet(b"\0", b"x"),
    "huge length": b"\xff\xff\xff\xffO",
    "huge length later": BEGUN + b"\x7f\xff\xff\xffM<a@b>",
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "truncated": BEGUN + MAIL[:-5],
    "truncated length": BEGUN + MAIL + RCPT + b"\0\0",
    "short negotiation": packet(b"O", b"\0"),
    "negotiation of a version before all": packet(b"O", struct.pack(">III", 1, 0, 0)),
    "two negotiations": HELLO + HELLO,
    "no negotiation": CONNECT + MAIL + RCPT + END,
    "end at once": packet(b"E"),
    "connection without an end": HELLO + packet(b"C", b"client.example"),
    "connection without an address": HELLO + packet(b"C", b"client.example\x004" + b"\0"),
    "connection of an unknown family": HELLO + packet(b"C", b"client.example\0Z\0\0x\0"),
    "address that is none": HELLO + packet(b"C", b"c\x004\0\0nonsense\0"),
    "macros without values": HELLO + packet(b"D", b"C{daemon_name}\0") + CONNECT + MAIL + RCPT,
    "macros of no command": HELLO + packet(b"D", b"\xffi\0x\0") + packet(b"D"),
    "many macros": HELLO + packet(b"D", b"C" + b"a\0b\0" * 10_000) + CONNECT + MAIL + RCPT,
    "sender without an end": BEGUN + packet(b"M", b"M\0x"),
    "sender that is nothing": BEGUN + packet(b"M") + RCPT,
    "recipient that is nothing": BEGUN + MAIL + packet(b"R"),
    "recipient before sender": BEGUN + RCPT,
    "field before sender": BEGUN + FIELD + EOH + BODY + END,
    "body before header": BEGUN + MAIL + RCPT + BODY + END,
    "body without recipients": BEGUN + MAIL + FIELD + EOH + BODY + END,
    "end without a message": BEGUN + MAIL + RCPT + END,
    "end without recipients": BEGUN + MAIL + END,
    "two ends": BEGUN + MAIL + RCPT + FIELD + EOH + BODY + END + END,
    "field after the header": BEGUN + MAIL + RCPT + FIELD + EOH + FIELD + BODY + END,
    "field without a value": BEGUN + MAIL + RCPT + packet(b"L", b"From"),
    "field that is nothing": BEGUN + MAIL + RCPT + packet(b"L"),
    "field of NULs": BEGUN + MAIL + RCPT + packet(b"L", b"\0" * 1000) + EOH + BODY + END,
    "sender of NULs": BEGUN + packet(b"M", b"\0" * 1000) + packet(b"R", b"\0" * 100) + FIELD + EOH + END,
    "octets that are no UTF-8": BEGUN + packet(b"M", b"<\xff@\xfe>\0") + packet(b"R", b"\xff\0") + EOH + END,
    "many aborts": BEGUN + packet(b"A") * 1000,
    "quit, then more": BEGUN + packet(b"Q") + MAIL,
    "many connections on one": HELLO + (ROAD + CONNECT + packet(b"K")) * 100,
}


def say(milter: InstalledMilter, octets: bytes) -> bytes:
    """What comes back until the milter hangs up; we send no more after `octets`."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as rude:
        rude.settimeout(120)
        rude.connect(milter.path)
        with contextlib.suppress(ConnectionError):
            rude.sendall(octets)
            rude.shutdown(socket.SHUT_WR)
            while piece := rude.recv(65536):
                answer += piece
    return answer


def answers(octets: bytes) -> list[bytes]:
    """The packets of the milter: command and data."""
    found = []
    while octets:
        (size,) = struct.unpack_from(">I", octets)
        found.append(octets[4 : 4 + size])
        octets = octets[4 + size :]
    return found


class TestHostile:
    @pytest.mark.parametrize("what", HOSTILE)
    def test_input_ends_its_own_connection_only_and_passes_nothing(
        self, milter: InstalledMilter, what: str
    ) -> None:
        with MilterClient(milter.path) as bystander:
            bystander.connect("submission")
            assert bystander.envelope(ALICE, [BOB]) == ["continue"]
            said = answers(say(milter, HOSTILE[what]))
            # Whoever may go on is told so with a `c` of its own at each recipient, and at the end of a
            # message that passed. None of these is one.
            recipients = len(re.findall(rb"\0\0\0.R", HOSTILE[what]))
            assert [one[:1] for one in said].count(b"c") <= recipients
            bystander.send(b"A")
            assert bystander.message(ALICE, [BOB], GOOD).reply == "continue"

    def test_connections_by_the_thousand_leave_nothing(self, milter: InstalledMilter) -> None:
        cut = [BEGUN + MAIL + RCPT + FIELD + EOH + BODY + END]
        cut = [cut[0][:at] for at in range(0, len(cut[0]), 3)]
        choice = random.Random(1)  # noqa: S311 (the same each time)
        noise = [choice.randbytes(choice.randrange(200)) for _ in range(50)]
        flipped = [
            bytes(octet ^ (choice.random() < 0.02) * choice.randrange(256) for octet in BEGUN + MAIL + RCPT)
            for _ in range(50)
        ]
        everything = [*HOSTILE.values(), *cut, *noise, *flipped]
        for octets in everything * 3:
            say(milter, octets)
        before = milter.resident
        for octets in itertools.islice(itertools.cycle(everything), 3000):
            say(milter, octets)
        until("their threads have ended", lambda: milter.threads < 20, 30)
        # KiB. Each connection that left a thread state, let alone its buffers, would be seen.
        assert milter.resident - before < 2048
        assert milter.submit().reply == "continue"

    def test_a_message_without_mail_from_is_no_message(self, milter: InstalledMilter) -> None:
        with MilterClient(milter.path) as client:
            client.connect("submission")
            client.header([(b"Subject", b"x")])
            client.body(b"Hello")
            assert client.message(ALICE, [BOB], GOOD).reply == "continue"

    def test_one_who_ends_a_message_whose_recipients_were_refused_is_told_the_same(
        self, milter: InstalledMilter
    ) -> None:
        with MilterClient(milter.path) as client:
            client.connect("")
            assert client.envelope(ALICE, [BOB]) == [OUR_FAULT]
            client.header([(b"From", ALICE.encode())])
            client.body(b"Hello")
            assert client.end() == MilterAnswer(OUR_FAULT)

    def test_a_header_value_that_is_not_utf8_is_octets_like_others(self, milter: InstalledMilter) -> None:
        message = b"X-Name: \xff\xfe\x80\r\n" + GOOD.replace(b"Subject: [...]", b"Subject: \xe4", 1)
        assert b"Subject: \xe4" in message
        assert milter.submit(message).reply == "continue"

    def test_a_header_name_that_is_not_utf8_is_tempfailed(self, milter: InstalledMilter) -> None:
        with MilterClient(milter.path) as client:
            client.connect("submission")
            assert client.message(ALICE, [BOB], b"X\xff: hello\r\n" + GOOD).reply == OUR_FAULT
            assert client.message(ALICE, [BOB], GOOD).reply == "continue"
        assert "fault=UnicodeDecodeError" in milter.log
        assert "hello" not in milter.log

    def test_memory_does_not_grow_with_the_message(self, milter: InstalledMilter) -> None:
        milter.submit(GOOD)
        before = milter.most_resident
        huge = messages.sealed(packets.partial(packets.SEIPD, b"\x01" + packets.noise(40_000_000), 16))
        assert milter.submit(huge).reply == "continue"
        # The chunks themselves, and what malloc keeps of them for later.
        assert milter.most_resident - before < 4096


# More fields and more body than are held until the end.
LARGE = b"X-Field: x\r\n" * 100 + messages.sealed(packets.seipd(size=200_000))


@pytest.mark.parametrize(
    "broken",
    [
        "chatmail_milter.milter.transaction:Transaction.fields",
        "chatmail_milter.milter.transaction:Transaction.end_of_header",
        "chatmail_milter.gate.gate:Gate.feed",
    ],
)
def test_a_bug_of_ours_is_seen_at_the_end_where_all_was_held_until_then(broken: str) -> None:
    with running(PYTHONPATH=str(FAULTS), BROKEN=broken) as milter, MilterClient(milter.path) as client:
        client.connect("submission")
        assert client.message(ALICE, [BOB], GOOD) == MilterAnswer(OUR_FAULT, at="end")
        # With the queue ID, by which `chatmailctl trace` finds it.
        assert "stage=eom fault=ZeroDivisionError queue=4Xb2" in milter.log


# What fails, at which stage that is seen, and where the answer comes.
@pytest.mark.parametrize(
    ("broken", "stage", "at"),
    [
        ("chatmail_milter.milter.session:canonical", "envfrom", "recipient"),
        ("chatmail_milter.milter.admission:AdmissionControl.admit", "envrcpt", "recipient"),
        ("chatmail_milter.milter.transaction:Transaction.recipient", "envrcpt", "recipient"),
        ("chatmail_milter.milter.transaction:Transaction.fields", "header", "end"),
        ("chatmail_milter.milter.transaction:Transaction.end_of_header", "body", "end"),
        ("chatmail_milter.gate.gate:Gate.feed", "body", "end"),
        ("chatmail_milter.gate.gate:Gate.finish", "eom", "end"),
        ("chatmail_milter.milter.session:peer_address", "connect", "recipient"),
    ],
)
def test_a_bug_of_ours_is_a_451_and_a_traceback_without_content(broken: str, stage: str, at: str) -> None:
    with running(PYTHONPATH=str(FAULTS), BROKEN=broken) as milter:
        # Twice on one connection: the first leaves nothing behind.
        with MilterClient(milter.path) as client:
            client.connect("submission")
            for _ in range(2):
                assert client.message(ALICE, [BOB], LARGE) == MilterAnswer(OUR_FAULT, at=at)
        assert f"stage={stage} fault=ZeroDivisionError" in milter.log
        assert 'File "' in milter.log
        assert "@" not in milter.log
        assert "secret" not in milter.log
