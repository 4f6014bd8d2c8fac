"""Suspensions, blocklist, federation and rate limit, as the installed milter replies for each recipient."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from chatmail_milter.rules.blocklist import entry
from chatmail_milter.store.policies import Blocks, Federations, Suspensions
from chatmail_milter.store.tables import policy
from tests.blackbox.milter.installed_milter import CLEAR, GOOD, InstalledMilter, running, signed, written_by
from tests.chat.deadline import until
from tests.messages import ALICE, BOB
from tests.milter_client import MilterAnswer, MilterClient

BLOCKED_USER = "550 5.7.1 Your address or network is blocked, ask the operator"
BLOCKED_PEER = "554 5.7.1 Sender or network is blocked here"
SUSPENDED = "550 5.7.1 Your account is suspended, ask the operator"
CLOSED = "554 5.7.1 This server exchanges no mail with that domain"
STORE_AWAY = "451 4.3.0 Policy can't be read, try again later"
PASSES = MilterAnswer("continue")


@pytest.fixture
def blocks(milter: InstalledMilter) -> Iterator[Blocks]:
    """The blocklist, empty before and after."""
    engine = milter.engine()
    blocks = Blocks(engine)
    yield blocks
    blocks.remove(block.entry for block in blocks.list())
    engine.dispose()


def from_peer(
    milter: InstalledMilter, sender: str, peer: str = "192.0.2.7", road: str = "smtp"
) -> MilterAnswer:
    domain = sender.rpartition("@")[2]
    return milter.take(written_by(sender), sender, signed(domain), road=road, peer=peer)


@pytest.mark.parametrize("road", ["smtp", "mxdeliv"])
@pytest.mark.parametrize(
    ("blocked", "sender", "peer"),
    [
        ("eve@b.example", "eve@b.example", "192.0.2.7"),
        ("eve@b.example", "Eve@B.Example", "192.0.2.7"),
        ("b.example", "eve@b.example", "192.0.2.7"),
        (".b.example", "eve@mx.b.example", "192.0.2.7"),
        ("192.0.2.0/24", "eve@b.example", "192.0.2.7"),
        ("192.0.2.7", "eve@b.example", "IPv6:::ffff:192.0.2.7"),
        ("2001:db8::/32", "eve@b.example", "IPv6:2001:db8::7"),
        ("198.51.100.0/24", "eve@[198.51.100.9]", "192.0.2.7"),
    ],
)
def test_a_block_is_told_at_the_recipient_at_once_and_ends_at_once(
    milter: InstalledMilter, blocks: Blocks, road: str, blocked: str, sender: str, peer: str
) -> None:
    literal = "[" in sender
    before = from_peer(milter, sender, peer, road)
    assert before.reply.startswith("554 5.7.1 Sender's address literal") if literal else before == PASSES
    blocks.add([entry(blocked)])
    assert from_peer(milter, sender, peer, road) == MilterAnswer(BLOCKED_PEER, at="recipient")
    blocks.remove([entry(blocked)])
    assert from_peer(milter, sender, peer, road) == before


@pytest.mark.parametrize(
    ("blocked", "sender", "peer"),
    [
        ("eve@b.example", "joe@b.example", "192.0.2.7"),
        ("b.example", "eve@mx.b.example", "192.0.2.7"),
        (".b.example", "eve@b.example", "192.0.2.7"),
        ("192.0.2.0/29", "eve@b.example", "192.0.2.8"),
    ],
)
def test_a_block_is_of_what_it_names_and_of_nothing_else(
    milter: InstalledMilter, blocks: Blocks, blocked: str, sender: str, peer: str
) -> None:
    blocks.add([blocked])
    assert from_peer(milter, sender, peer) == PASSES


@pytest.mark.parametrize("blocked", ["eve@b.example", "b.example"])
@pytest.mark.parametrize("envelope", ["", "bounces@list.example"])
def test_a_blocked_author_behind_another_sender_is_told_at_the_end(
    milter: InstalledMilter, blocks: Blocks, blocked: str, envelope: str
) -> None:
    blocks.add([blocked])
    for message in (GOOD, CLEAR):
        written = message.replace(b"<alice@a.example>", b"<eve@b.example>", 1)
        assert milter.take(written, envelope, signed("b.example")) == MilterAnswer(BLOCKED_PEER)


@pytest.mark.parametrize(
    ("blocked", "peer"),
    [(ALICE, "192.0.2.7"), ("192.0.2.0/24", "192.0.2.7"), ("2001:db8::/32", "2001:db8::1")],
)
def test_a_user_who_is_logged_in_is_refused_the_next_message(
    milter: InstalledMilter, blocks: Blocks, blocked: str, peer: str
) -> None:
    with MilterClient(milter.path) as client:
        client.connect("submission", f"IPv6:{peer}" if ":" in peer else peer)
        assert client.message(ALICE, [BOB], GOOD) == PASSES
        blocks.add([blocked])
        assert client.message(ALICE, [BOB], GOOD) == MilterAnswer(BLOCKED_USER, at="recipient")


def test_a_suspended_user_still_gets_mail(milter: InstalledMilter) -> None:
    engine = milter.engine()
    suspensions = Suspensions(engine)
    suspensions.suspend(ALICE)
    assert milter.submit() == MilterAnswer(SUSPENDED, at="recipient")
    with MilterClient(milter.path) as client:
        client.connect("smtp")
        assert client.envelope(BOB, [ALICE]) == ["continue"]
    suspensions.resume(ALICE)
    assert milter.submit() == PASSES
    engine.dispose()


def test_a_closed_federation_admits_its_exceptions_and_its_own_users(milter: InstalledMilter) -> None:
    engine = milter.engine()
    federations = Federations(engine)
    federations.set_rule("closed")
    federations.add(["b.example", ".c.example"])
    try:
        assert from_peer(milter, "eve@b.example") == PASSES
        assert from_peer(milter, "eve@mx.c.example") == PASSES
        assert from_peer(milter, "eve@c.example") == MilterAnswer(CLOSED, at="recipient")
        # A bounce's sender says nothing, its author does.
        assert milter.take(written_by("eve@c.example"), "", signed("c.example")) == MilterAnswer(CLOSED)
        assert milter.submit() == PASSES
    finally:
        federations.set_rule("open")
        engine.dispose()
    assert from_peer(milter, "eve@c.example") == PASSES


def test_a_refusal_at_the_recipient_has_its_line_and_nobody_s_address(
    milter: InstalledMilter, blocks: Blocks
) -> None:
    blocks.add([ALICE, "192.0.2.0/24"])
    before = len(milter.log)
    with MilterClient(milter.path) as client:
        client.connect("submission", "203.0.113.1")
        assert client.envelope(ALICE, [BOB, ALICE]) == [BLOCKED_USER] * 2
        client.send(b"A")
    from_peer(milter, "eve@b.example")
    assert [line.partition(" decided=")[0] for line in milter.log[before:].splitlines()] == [
        "road=submission verdict=reject reason=blocked queue=- size=0",
        "road=smtp verdict=reject reason=blocked-network queue=- size=0",
    ]
    assert "@" not in milter.log


class TestRate:
    def test_a_burst_passes_then_clients_are_told_to_the_letter(self) -> None:
        with running(per_minute=1, burst=3) as milter:
            # One token a transaction, however many recipients it has and whatever becomes of it.
            assert milter.submit(GOOD, ALICE, *[f"u{number}@b.example" for number in range(20)]) == PASSES
            assert milter.submit(CLEAR).reply.startswith("523")
            assert milter.submit() == PASSES
            assert milter.submit() == MilterAnswer(f"450 4.7.1: Too much mail from <{ALICE}>", at="recipient")
            assert milter.submit(written_by("carol@a.example"), "carol@a.example") == PASSES
            assert "road=submission verdict=tempfail reason=rate queue=- size=0" in milter.log

    def test_all_recipients_of_a_transaction_get_the_same_answer(self) -> None:
        # A token comes back each second: what the first recipient was told must hold for those who follow.
        with running(per_minute=60, burst=1) as milter, MilterClient(milter.path) as client:
            client.connect("submission")
            for _ in range(200):
                client.send(b"A")
                answers = client.envelope(ALICE, [BOB])
                if answers != ["continue"]:
                    break
            assert answers == [f"450 4.7.1: Too much mail from <{ALICE}>"]
            end = time.monotonic() + 1.1
            while time.monotonic() < end:
                assert client.say(b"R", f"<{BOB}>\0".encode()) == answers[0]

    def test_recovers_with_time_however_often_it_is_tried_meanwhile(self) -> None:
        with running(per_minute=20, burst=1) as milter:
            asked = passed = time.monotonic()
            while milter.submit() == PASSES:
                passed, asked = asked, time.monotonic()
            until("it passes again", lambda: milter.submit() == PASSES, 60, every=0.01)
            assert time.monotonic() >= passed + 3

    def test_recipients_count_and_a_message_that_may_begin_goes_to_all_of_them(self) -> None:
        group = [f"u{number}@b.example" for number in range(10)]
        with running(submission="recipients_per_minute = 1\nrecipients_burst = 15") as milter:
            # The second begins with five left, and is for ten.
            assert milter.submit(GOOD, ALICE, *group) == PASSES
            assert milter.submit(GOOD, ALICE, *group) == PASSES
            assert milter.submit() == MilterAnswer(f"450 4.7.1: Too much mail from <{ALICE}>", at="recipient")
            assert milter.submit(written_by("carol@a.example"), "carol@a.example") == PASSES

    def test_recipients_of_a_message_that_is_refused_count_too(self) -> None:
        with running(submission="recipients_per_minute = 1\nrecipients_burst = 1") as milter:
            assert milter.submit(CLEAR).reply.startswith("523")
            assert milter.submit() == MilterAnswer(f"450 4.7.1: Too much mail from <{ALICE}>", at="recipient")

    def test_by_default_a_user_reaches_five_thousand_recipients_at_once(self) -> None:
        group = [f"u{number}@b.example" for number in range(1000)]
        with running() as milter:
            # What wears off meanwhile is a thousand a minute, so that a busy machine sends more.
            passed = 0
            while (answer := milter.submit(GOOD, ALICE, *group)) == PASSES:
                passed += 1
            assert passed >= 5
            assert answer == MilterAnswer(f"450 4.7.1: Too much mail from <{ALICE}>", at="recipient")

    def test_peers_have_none(self) -> None:
        with running(per_minute=1, burst=1) as milter:
            for _ in range(5):
                assert from_peer(milter, "eve@b.example") == PASSES

    def test_what_the_policy_refuses_takes_no_token(self) -> None:
        with running(per_minute=1, burst=1) as milter:
            engine = milter.engine()
            suspensions = Suspensions(engine)
            suspensions.suspend(ALICE)
            for _ in range(3):
                assert milter.submit() == MilterAnswer(SUSPENDED, at="recipient")
            suspensions.resume(ALICE)
            engine.dispose()
            assert milter.submit() == PASSES


class TestStore:
    def test_while_it_can_t_be_read_nothing_passes_and_two_lines_tell(self) -> None:
        # One process: each has lines of its own, and one that opens the store later makes its tables again.
        with running(processes=1) as milter:
            assert milter.submit() == PASSES
            engine = milter.engine()
            with engine.begin() as connection:
                policy.drop(connection)
            until("it is seen", lambda: milter.submit() != PASSES, 10, every=0.01)
            before = len(milter.log)
            assert milter.submit() == MilterAnswer(STORE_AWAY, at="recipient")
            assert from_peer(milter, "eve@b.example") == MilterAnswer(STORE_AWAY, at="recipient")
            assert milter.log[before:] == ""
            with engine.begin() as connection:
                policy.create(connection)
            engine.dispose()
            assert milter.submit() == PASSES
            assert milter.log.count("store=away fault=OperationalError") == 1
            assert "store=back transactions-put-off=3\n" in milter.log
            assert "SELECT" not in milter.log

    def test_it_need_not_be_there_when_the_program_starts(self) -> None:
        with running(store="later/store.sqlite") as milter:
            assert milter.submit() == MilterAnswer(STORE_AWAY, at="recipient")
            milter.store.parent.mkdir()
            assert milter.submit() == MilterAnswer(STORE_AWAY, at="recipient"), "no program makes a store"
            milter.store.touch()
            assert milter.submit() == PASSES

    @pytest.mark.parametrize(
        "spoilt", [b"no store at all " * 300, None, "UPDATE alembic_version SET version_num = '9999'"]
    )
    def test_one_that_cannot_be_used_is_told_in_a_line(self, spoilt: bytes | str | None) -> None:
        with running(processes=1, store="later/store.sqlite") as milter:
            milter.store.parent.mkdir()
            if spoilt is None:
                milter.store.mkdir()
            elif isinstance(spoilt, str):
                milter.engine().dispose()
                with closing(sqlite3.connect(milter.store, isolation_level=None)) as store:
                    store.execute(spoilt)
            else:
                milter.store.write_bytes(spoilt)
            for _ in range(2):
                assert milter.submit() == MilterAnswer(STORE_AWAY, at="recipient")
            assert len(re.findall(r"(?m)^.*store=away fault=\w+ cause=\w+$", milter.log)) == 1
            assert "Traceback" not in milter.log
