"""The verdict on each message by direction (docs/gate.md, 2). The replies are typed again here."""

from __future__ import annotations

import ipaddress

import pytest

from chatmail_milter.address import Peer
from chatmail_milter.gate.gate import Classification, Kind
from chatmail_milter.rules import inbound, submission
from chatmail_milter.rules.dkim import DkimFacts
from chatmail_milter.rules.inbound import Evidence, Judgement, Origin

GOOD = Classification(Kind.ENCRYPTED, "encrypted")
CLEAR = Classification(Kind.NONE, "not-encrypted")
REPORT = Classification(Kind.REPORT, "report")
PEER = ipaddress.ip_address("192.0.2.7")


def signed(by: str) -> DkimFacts:
    facts = DkimFacts("a.example")
    named = f"header.d={by} header.s=s header.b=AAAAAAAA"
    facts.see(b"authentication-results", f"a.example; dkim=pass {named}".encode())
    facts.see(
        b"dkim-signature", f"v=1; a=rsa-sha256; d={by}; s=s; h=from:date; bh=AA; b=AAAAAAAAAAAA".encode()
    )
    return facts


def came_in(
    author: str,
    mail_from: str,
    *,
    by: str = "b.example",
    peer: Peer = PEER,
    found: Classification = GOOD,
    any_ip_literal: bool = False,
    origin: Origin = Origin.UNPROVEN,
) -> Judgement:
    return inbound.judge(
        inbound.author_of([author.encode()]),
        mail_from,
        found,
        Evidence(peer, signed(by) if by else DkimFacts("a.example"), origin=origin),
        any_ip_literal=any_ip_literal,
    )


class TestSubmission:
    @pytest.mark.parametrize("author", ["alice@a.example", "Alice <ALICE@A.example>"])
    def test_the_author_is_the_sender(self, author: str) -> None:
        assert submission.sender([author.encode()], "alice@a.example").reply == "250 2.0.0 OK"

    @pytest.mark.parametrize(
        ("values", "mail_from", "reply"),
        [
            (
                ["bob@b.example"],
                "alice@a.example",
                "500 5.7.1 Invalid FROM <bob@b.example> for <alice@a.example>",
            ),
            (["alice@a.example"], "", "500 5.7.1 Invalid FROM <alice@a.example> for <>"),
            ([], "alice@a.example", "500 5.7.1 Invalid FROM <> for <alice@a.example>"),
            (
                ["alice@a.example", "bob@b.example"],
                "alice@a.example",
                "500 5.7.1 Invalid FROM <alice@a.example, bob@b.example> for <alice@a.example>",
            ),
            (
                ["a\r\n 250 \x1b[0m%n\xff"],
                "alice@a.example",
                "500 5.7.1 Invalid FROM <a 250 ?[0m%n??> for <alice@a.example>",
            ),
        ],
    )
    def test_or_it_is_refused(self, values: list[str], mail_from: str, reply: str) -> None:
        assert submission.sender([value.encode() for value in values], mail_from).reply == reply

    def test_a_reply_repeats_no_more_than_an_address_has(self) -> None:
        assert len(submission.sender([b"x" * 4000], "alice@a.example").reply) < 350


class TestInbound:
    def test_signed_by_the_author_s_domain(self) -> None:
        assert came_in("bob@b.example", "bob@b.example") == Judgement(GOOD.verdict)

    def test_encryption_comes_before_dkim(self) -> None:
        assert came_in("bob@b.example", "bob@b.example", by="c.example", found=CLEAR).verdict.code == 523

    def test_another_domain_s_signature_says_nothing(self) -> None:
        verdict = came_in("bob@b.example", "bob@b.example", by="c.example").verdict
        assert verdict.reply == "554 5.7.1 No valid DKIM signature found"

    @pytest.mark.parametrize(
        ("origin", "reply"),
        [
            (Origin.UNPROVEN, "554 5.7.1 No DKIM signature found"),
            (Origin.UNKNOWN, "451 4.7.5 Sender's domain lookup failed, try again later"),
            (Origin.PROVEN, "250 2.0.0 OK"),
        ],
    )
    def test_without_a_signature_the_peer_s_address_decides(self, origin: Origin, reply: str) -> None:
        assert came_in("bob@b.example", "", by="", origin=origin).verdict.reply == reply

    @pytest.mark.parametrize("origin", list(Origin))
    def test_a_signature_that_fails_is_refused_wherever_it_comes_from(self, origin: Origin) -> None:
        verdict = came_in("bob@b.example", "", by="c.example", origin=origin).verdict
        assert verdict.reply == "554 5.7.1 No valid DKIM signature found"
        assert came_in("bob@b.example", "", by="", origin=origin, found=CLEAR).verdict.code == 523

    @pytest.mark.parametrize("author", ["", "bob@b.example, eve@c.example", "bob@b.example <eve@c.example>"])
    def test_without_one_author_nobody_can_have_signed(self, author: str) -> None:
        assert came_in(author, "bob@b.example").verdict.reason == "from-malformed"

    def test_a_sender_who_is_not_the_author_gets_no_bounces(self) -> None:
        assert came_in("bob@b.example", "list@c.example") == Judgement(GOOD.verdict, null_sender=True)
        assert came_in("bob@b.example", "") == Judgement(GOOD.verdict, null_sender=False)

    def test_reports_are_signed_too(self) -> None:
        assert came_in("mailer-daemon@b.example", "", found=REPORT).verdict.reason == "report"
        assert came_in("mailer-daemon@b.example", "", by="c.example", found=REPORT).verdict.code == 554

    @pytest.mark.parametrize(
        ("author", "peer"),
        [
            ("u@192.0.2.7", "192.0.2.7"),
            ("u@[192.0.2.7]", "192.0.2.7"),
            ("u@[192.0.2.7]", "::ffff:192.0.2.7"),
            ("u@[IPv6:2001:DB8::7]", "2001:db8::7"),
        ],
    )
    def test_an_ip_literal_sends_from_that_address(self, author: str, peer: str) -> None:
        sender = author.replace("@192.0.2.7", "@[192.0.2.7]")
        assert came_in(author, sender, peer=ipaddress.ip_address(peer), by="c.example").verdict.code == 250

    @pytest.mark.parametrize("peer", [ipaddress.ip_address("192.0.2.8"), ipaddress.ip_address("::1"), None])
    def test_and_from_no_other_unless_the_config_says_so(self, peer: Peer) -> None:
        assert came_in("u@192.0.2.7", "", peer=peer).verdict.code == 554
        assert came_in("u@192.0.2.7", "", peer=peer).verdict.reason == "ip-literal"
        assert came_in("u@192.0.2.7", "", peer=peer, any_ip_literal=True).verdict.code == 250
