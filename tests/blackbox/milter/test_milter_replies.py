"""The installed milter, asked by Postfix's protocol: incoming and outgoing mail, DKIM, senders, replies."""

from __future__ import annotations

import re

import pytest

from tests.blackbox.milter.installed_milter import (
    CLEAR,
    CLEARTEXT,
    GOOD,
    OUR_FAULT,
    InstalledMilter,
    code,
    signed,
)
from tests.messages import ALICE, BOB
from tests.milter_client import ALL_STEPS, MilterAnswer, MilterClient


class TestRoads:
    @pytest.mark.parametrize("road", ["internal", "reinject"])
    def test_that_are_not_judged(self, milter: InstalledMilter, road: str) -> None:
        with MilterClient(milter.path) as client:
            client.connect(road)
            for _ in range(2):
                assert client.envelope(ALICE, [BOB]) == ["accept"]

    def test_that_has_no_name(self, milter: InstalledMilter) -> None:
        with MilterClient(milter.path) as client:
            client.connect("")
            assert client.message(ALICE, [BOB], GOOD) == MilterAnswer(OUR_FAULT, at="recipient")
        assert "reason=daemon-name" in milter.log

    @pytest.mark.parametrize("road", ["smtpd", "mx.a.example"])
    def test_of_a_name_that_nobody_told_us_about_are_known_by_the_login(
        self, milter: InstalledMilter, road: str
    ) -> None:
        with MilterClient(milter.path) as client:
            client.connect(road)
            # On one connection, before a login and after it.
            assert client.message(ALICE, [BOB], GOOD).reply == "554 5.7.1 No DKIM signature found"
            assert client.message(ALICE, [BOB], GOOD, login=ALICE).reply == "continue"
            assert client.message(ALICE, [BOB], CLEAR, login=ALICE).reply == CLEARTEXT

    def test_a_login_sends_as_nobody_else(self, milter: InstalledMilter) -> None:
        with MilterClient(milter.path) as client:
            client.connect("submission")
            refusal = "553 5.7.1 Sender address rejected: not owned by user"
            assert client.message(ALICE, [BOB], GOOD, login=BOB) == MilterAnswer(refusal, at="recipient")

    def test_only_what_is_needed_is_asked_and_waited_for(self, milter: InstalledMilter) -> None:
        with MilterClient(milter.path) as client:
            # SMFIP_: no HELO, no unknown commands, no DATA; no replies to CONNECT, MAIL, headers, EOH, body;
            # refused recipients too; blanks after the colon kept.
            unanswered = 0x1000 | 0x4000 | 0x80 | 0x40000 | 0x80000
            assert client.agreed_steps == 0x2 | 0x100 | 0x200 | unanswered | 0x800 | 0x100000
            # SMFIF_: add and change headers, change sender, name macros.
            assert client.agreed_actions == 0x1 | 0x10 | 0x40 | 0x100
            nothing = dict.fromkeys((1, 4, 6), "{none}")
            recipient = "{rcpt_mailer} {rcpt_host} {rcpt_addr}"
            named = {0: "{daemon_name}", 2: "{auth_authen}", 3: recipient, 5: "i"}
            assert client.macros_wanted == named | nothing

    @pytest.mark.parametrize("steps", [0, 0x7F, ALL_STEPS])
    def test_a_client_that_offers_less_gets_the_same_answers(
        self, milter: InstalledMilter, steps: int
    ) -> None:
        with MilterClient(milter.path, actions=0x1FF if steps else 0x5F, steps=steps) as client:
            client.connect("submission")
            assert client.message(ALICE, [BOB], GOOD).reply == "continue"
            assert client.message(ALICE, [BOB], CLEAR).reply == CLEARTEXT


class TestDkim:
    @pytest.mark.parametrize(
        ("results", "reply"),
        [
            ((signed(),), "continue"),
            ((), "554 5.7.1 No DKIM signature found"),
            (("mx.a.example; dkim=none",), "554 5.7.1 No DKIM signature found"),
            ((signed("c.example"),), "554 5.7.1 No valid DKIM signature found"),
            ((signed(result="fail"),), "554 5.7.1 No valid DKIM signature found"),
            (("c.example; dkim=pass header.d=a.example",), "554 5.7.1 No DKIM signature found"),
        ],
    )
    def test_must_be_of_the_author_s_domain(
        self, milter: InstalledMilter, results: tuple[str, ...], reply: str
    ) -> None:
        assert milter.take(GOOD, ALICE, *results).reply == reply

    def test_forged_results_do_not_count_and_are_removed_from_the_last_on(
        self, milter: InstalledMilter
    ) -> None:
        first = signed("c.example")
        assert code(milter.take(GOOD, ALICE, first, signed(), signed())) == 554
        answer = milter.take(
            GOOD, ALICE, signed(), signed("c.example"), "c.example; dkim=pass", signed("d.example")
        )
        assert answer == MilterAnswer(
            "continue", ("Authentication-Results[4]=", "Authentication-Results[2]=")
        )

    def test_a_result_that_the_signature_wrote_itself(self, milter: InstalledMilter) -> None:
        message = (
            b"DKIM-Signature: v=1; d=c.example; i=x=3Bdkim=3Dpass=20header.d=3Da.example@c.example; b=A\r\n"
            + GOOD
        )
        assert code(milter.take(message, ALICE, signed())) == 554


class TestSender:
    def test_another_than_the_author_becomes_null_on_the_way_in(self, milter: InstalledMilter) -> None:
        assert milter.take(GOOD, "list@c.example", signed()) == MilterAnswer("continue", ("from=<>",))
        assert milter.take(GOOD, "", signed()) == MilterAnswer("continue")
        assert milter.take(CLEAR, "list@c.example", signed()) == MilterAnswer(CLEARTEXT)

    def test_another_than_the_author_is_refused_on_submission(self, milter: InstalledMilter) -> None:
        assert milter.submit(GOOD, "carol@a.example").reply == (
            "500 5.7.1 Invalid FROM <alice@a.example> for <carol@a.example>"
        )

    def test_fields_that_no_reader_needs_are_taken_off_what_is_submitted(
        self, milter: InstalledMilter
    ) -> None:
        more = b"X-Mailer: x\r\nX-Letter: a\r\n b\r\nx-mailer : y\r\nReferences: meet me\r\n"
        changed = ("References[1]=", "X-Mailer[2]=", "X-Letter[1]=", "X-Mailer[1]=")
        found = milter.submit(more + GOOD)
        assert found.reply == "continue"
        assert [one.lower() for one in found.changed] == [one.lower() for one in changed]
        assert milter.take(more + GOOD, ALICE, signed()) == MilterAnswer("continue")

    def test_a_flood_of_such_fields_is_refused(self, milter: InstalledMilter) -> None:
        flood = b"".join(b"X-%d: x\r\n" % number for number in range(50_000))
        assert milter.submit(flood + GOOD) == MilterAnswer(CLEARTEXT)
        assert code(milter.submit(flood + b"From: eve@c.example\r\n" + GOOD)) == 500

    def test_a_subject_in_clear_becomes_dots(self, milter: InstalledMilter) -> None:
        clear = GOOD.replace(b"Subject: [...]\r\n", b"Subject: Meet me\r\n at nine\r\n")
        assert milter.submit(clear) == MilterAnswer("continue", ("Subject[1]=[...]",))
        assert milter.take(clear, ALICE, signed()) == MilterAnswer("continue")

    def test_a_subject_that_is_missing_becomes_dots(self, milter: InstalledMilter) -> None:
        bare = GOOD.replace(b"Subject: [...]\r\n", b"")
        assert milter.submit(GOOD) == MilterAnswer("continue")
        assert milter.submit(bare) == MilterAnswer("continue", ("+Subject: [...]",))
        assert milter.take(bare, ALICE, signed()) == MilterAnswer("continue")

    def test_white_space_before_the_colon_hides_no_second_author(self, milter: InstalledMilter) -> None:
        assert code(milter.submit(b"From : eve@c.example\r\n" + GOOD)) == 500

    def test_capitals_make_no_other_sender(self, milter: InstalledMilter) -> None:
        assert milter.submit(GOOD, "Alice@A.Example").reply == "continue"

    @pytest.mark.parametrize(
        ("author", "quoted"),
        [
            (b"100%n%s <a@a.example>, b@b.example", "100%n%s <a@a.example>, b@b.example"),
            (b"a@a.example\n\t(x\n y\r) z", "a@a.example\t(x y?) z"),
            ("jörg".encode() + b"\xff\x01\x7f", "j??rg???"),
            (b"x" * 5000, "x" * 256),
        ],
    )
    def test_hostile_authors_fit_into_the_reply(
        self, milter: InstalledMilter, author: bytes, quoted: str
    ) -> None:
        message = GOOD.replace(b"From: <alice@a.example>", b"From: " + author.replace(b"\n", b"\r\n"), 1)
        reply = milter.submit(message).reply
        assert reply.startswith("500 5.7.1 Invalid FROM <")
        assert re.sub(r"[\t?]", "?", reply) == re.sub(
            r"[\t?]", "?", f"500 5.7.1 Invalid FROM <{quoted}> for <{ALICE}>"
        )

    @pytest.mark.parametrize(
        ("domain", "peer", "wanted"),
        [
            ("192.0.2.7", "192.0.2.7", 250),
            ("[192.0.2.7]", "192.0.2.7", 250),
            ("[192.0.2.7]", "192.0.2.8", 554),
            ("[192.0.2.7]", "2001:db8::7", 554),
            ("[IPv6:2001:db8::7]", "2001:db8::7", 250),
            ("[IPv6:2001:db8::7]", "2001:db8::8", 554),
        ],
    )
    def test_at_an_ip_literal(self, milter: InstalledMilter, domain: str, peer: str, wanted: int) -> None:
        message = GOOD.replace(b"alice@a.example", f"alice@{domain}".encode())
        assert code(milter.take(message, f"alice@{domain}", peer=peer)) == wanted


def test_the_log_has_a_line_for_each_decision_and_nobody_s_address(milter: InstalledMilter) -> None:
    before = len(milter.log)
    milter.submit(GOOD)
    milter.submit(CLEAR)
    milter.take(GOOD, "list@c.example", signed())
    milter.take(GOOD, ALICE, road="mxdeliv")
    lines = milter.log[before:].splitlines()
    assert [line.rpartition(" size=")[0] for line in lines] == [
        "road=submission verdict=pass reason=encrypted queue=4Xb2",
        "road=submission verdict=reject reason=not-encrypted queue=4Xb2",
        "road=smtp verdict=pass reason=encrypted queue=4Xb2",
        "road=mxdeliv verdict=reject reason=dkim-none queue=4Xb2",
    ]
    # By these the relay counts what peers bring: whom DKIM proved, or who is claimed; by the last, its time.
    assert [[word.partition("=")[0] for word in line.split()[5:]] for line in lines] == [
        ["decided"], ["decided"], ["decided", "domain", "seconds"], ["decided", "domain", "seconds"],
    ]  # fmt: skip
    assert [line.split()[6] for line in lines[2:]] == ["domain=a.example"] * 2
    # Folded lines come to us with LF for CRLF.
    assert 0 <= len(GOOD) - int(lines[0].split()[4].removeprefix("size=")) <= 2
    assert "@" not in milter.log
