"""The operator's policy as replies to users and peers. The replies are typed again here."""

from __future__ import annotations

import ipaddress

import pytest

from chatmail_milter import codes
from chatmail_milter.rules.blocklist import Blocklist
from chatmail_milter.rules.policy import OPEN, Federation, Policy
from chatmail_milter.verdict import Action, Verdict

ALICE, BOB, MALLORY = "alice123@a.example", "bob12345@a.example", "mallory1@a.example"
GOOD, BAD = ipaddress.ip_address("198.51.100.7"), ipaddress.ip_address("192.0.2.7")

BLOCKED = "554 5.7.1 Sender or network is blocked here"
CLOSED = "554 5.7.1 This server exchanges no mail with that domain"

policy = Policy(
    Blocklist.of([MALLORY, "u@peer.example", "spam.example", ".bulk.example", "192.0.2.0/24"]),
    Federation("open", frozenset({"closed.example"})),
    frozenset({BOB}),
)
closed = Policy(
    Blocklist.of(["spam.example"]),
    Federation("closed", frozenset({"peer.example", "spam.example"})),
    frozenset(),
)


def passes(verdict: Verdict) -> bool:
    return verdict.action is Action.PASS


class TestOurUsers:
    @pytest.mark.parametrize("question", [policy.login, policy.submission])
    def test_who_is_not_to_be_kept_out_is_let_in(self, question: object) -> None:
        assert callable(question)
        assert question(ALICE, GOOD) is codes.PASS
        assert question(ALICE, None) is codes.PASS

    @pytest.mark.parametrize(
        ("user", "peer", "reply", "reason"),
        [
            (BOB, GOOD, "550 5.7.1 Your account is suspended, ask the operator", "suspended"),
            (BOB, BAD, "550 5.7.1 Your account is suspended, ask the operator", "suspended"),
            (MALLORY, GOOD, "550 5.7.1 Your address or network is blocked, ask the operator", "blocked"),
            (ALICE, BAD, "550 5.7.1 Your address or network is blocked, ask the operator", "blocked-network"),
        ],
    )
    def test_login_and_submission_are_refused_alike(
        self, user: str, peer: ipaddress.IPv4Address, reply: str, reason: str
    ) -> None:
        for verdict in (policy.login(user, peer), policy.submission(user, peer)):
            assert (verdict.action, verdict.reply, verdict.reason) == (Action.REJECT, reply, reason)


class TestPeers:
    @pytest.mark.parametrize(
        ("sender", "peer", "reply"),
        [
            ("someone@peer.example", GOOD, None),
            ("someone@peer.example", None, None),
            ("", GOOD, None),
            ("u@peer.example", GOOD, BLOCKED),
            ("anyone@spam.example", GOOD, BLOCKED),
            ("anyone@sub.spam.example", GOOD, None),
            ("anyone@list.bulk.example", GOOD, BLOCKED),
            ("someone@peer.example", BAD, BLOCKED),
            ("", BAD, BLOCKED),
            ("u@[192.0.2.7]", GOOD, BLOCKED),
            ("someone@closed.example", GOOD, CLOSED),
        ],
    )
    def test_envelope(self, sender: str, peer: ipaddress.IPv4Address | None, reply: str | None) -> None:
        verdict = policy.incoming(sender, peer)
        assert passes(verdict) if reply is None else verdict.reply == reply

    @pytest.mark.parametrize(
        "sender",
        ['"a b"@spam.example', '"a b"@SPAM.Example', "A@Spam.Example", '"a b"@[192.0.2.7]', '"x"@192.0.2.7'],
    )
    def test_a_sender_without_a_canonical_form_does_not_pass_by_the_list(self, sender: str) -> None:
        assert policy.incoming(sender, GOOD).reply == BLOCKED

    @pytest.mark.parametrize(
        "sender", ["@", "x", '"@spam.example', "a@b@c", '"' * 1000, "x@" + "y." * 500, "\udcff@x"]
    )
    def test_what_is_no_address_at_all_is_nobody_on_the_list(self, sender: str) -> None:
        assert policy.incoming(sender, GOOD).action in (Action.PASS, Action.REJECT)

    def test_author(self) -> None:
        assert passes(policy.author("someone@peer.example"))
        assert policy.author("u@peer.example").reply == BLOCKED
        assert policy.author("x@spam.example").reply == BLOCKED
        assert policy.author("x@closed.example").reply == CLOSED

    def test_a_closed_federation_takes_mail_from_the_listed_only_and_the_blocklist_still_counts(self) -> None:
        assert passes(closed.incoming("x@peer.example", GOOD))
        assert closed.incoming("x@other.example", GOOD).reply == CLOSED
        assert closed.author("x@other.example").reply == CLOSED
        assert closed.incoming("x@spam.example", GOOD).reply == BLOCKED

    def test_the_null_sender_is_of_no_domain_so_its_author_decides(self) -> None:
        assert passes(closed.incoming("", GOOD))
        assert closed.author("mailer-daemon@other.example").reply == CLOSED


class TestOutgoing:
    def test_where_mail_may_go(self) -> None:
        assert passes(policy.outgoing("peer.example"))
        assert policy.outgoing("spam.example").reply == "554 5.7.1 Recipient domain is blocked here"
        assert policy.outgoing("list.bulk.example").reply == "554 5.7.1 Recipient domain is blocked here"
        assert policy.outgoing("[192.0.2.7]").reply == "554 5.7.1 Recipient domain is blocked here"
        assert policy.outgoing("closed.example").reply == CLOSED

    def test_a_closed_federation_sends_to_the_listed_only(self) -> None:
        assert passes(closed.outgoing("peer.example"))
        assert closed.outgoing("other.example").reply == CLOSED


def test_the_open_policy_lets_everybody_by() -> None:
    assert passes(OPEN.login(ALICE, BAD))
    assert passes(OPEN.submission(ALICE, None))
    assert passes(OPEN.incoming("x@y.example", BAD))
    assert passes(OPEN.author("x@y.example"))
    assert passes(OPEN.outgoing("y.example"))


def test_the_line_about_too_much_mail_is_what_clients_look_for_to_the_letter() -> None:
    verdict = codes.too_much_mail(ALICE)
    assert verdict.reply == "450 4.7.1: Too much mail from <alice123@a.example>"
    assert verdict.action is Action.TEMPFAIL


def test_a_store_that_is_away_means_later() -> None:
    assert codes.STORE_AWAY.reply.startswith("451 4.3.0 ")
    assert codes.STORE_AWAY.action is Action.TEMPFAIL
