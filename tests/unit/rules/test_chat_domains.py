"""Several domains on one host: which domain's rules apply to a transaction, and the allowed senders."""

import pytest

from chatmail_milter.gate.gate import Direction
from chatmail_milter.rules.domains import (
    ALL,
    AUTHORS_KEPT,
    ChatDomains,
    RecipientScope,
    RecipientSorter,
    forged_author,
)

CHAT = ChatDomains(frozenset(("chat.example", "xn--bcher-kva.example")))
ALICE, BOB, REMOTE = "alice@chat.example", "bob@old.example", "carol@peer.example"
JUDGED, OTHERS, SPLIT = RecipientScope.JUDGED, RecipientScope.OTHERS, RecipientScope.SPLIT
USER, PEER = Direction.OUT, Direction.IN


def sorter(road: Direction, sender: str, login: str = "", domains: ChatDomains = CHAT) -> RecipientSorter:
    return RecipientSorter(domains, road, sender, (sender, sender), login)


class TestSpellings:
    @pytest.mark.parametrize(
        ("given", "resolved"),
        [
            ("<alice@chat.example>", "alice@chat.example"),
            ("<ALICE@Chat.Example>", ""),
            ("<alice@chat.example.>", ""),
            ("<alice@bücher.example>", ""),
            # Postfix's own routing, by its defaults.
            ("<alice%chat.example@old.example>", "alice@chat.example"),
            ("<chat.example!alice>", "alice@chat.example"),
            ("<@x.example:alice@chat.example>", "alice@chat.example"),
            ('<"alice@chat.example"@old.example>', "alice@chat.example"),
            ("<alice>", "alice@chat.example"),
            # Nobody says what these are.
            ("<alice%chat.example@old.example>", ""),
            ('<"alice@chat.example"@old.example>', ""),
            ("<alice>", ""),
        ],
    )
    def test_of_a_chat_domain(self, given: str, resolved: str) -> None:
        assert CHAT.named_in((given, resolved))

    @pytest.mark.parametrize(
        ("given", "resolved"),
        [
            ("<bob@old.example>", ""),
            ("<bob@old.example>", "bob@old.example"),
            ("<bob>", "bob@old.example"),
            ("<alice@sub.chat.example>", ""),
            ('<"a b"@old.example>', '"a b"@old.example'),
            ("<>", ""),
        ],
    )
    def test_of_others(self, given: str, resolved: str) -> None:
        assert not CHAT.named_in((given, resolved))


class TestPeers:
    def test_mail_of_other_domains_is_let_by(self) -> None:
        seen = sorter(PEER, REMOTE)
        assert seen.refused_sender() is None
        assert [seen.sort((BOB, BOB)), seen.sort((BOB, BOB))] == [OTHERS, OTHERS]
        assert seen.lets_by
        assert not seen.watches_author

    @pytest.mark.parametrize(("first", "second"), [((ALICE, JUDGED), BOB), ((BOB, OTHERS), ALICE)])
    def test_each_kind_of_recipient_takes_its_own_transaction(
        self, first: tuple[str, RecipientScope], second: str
    ) -> None:
        seen = sorter(PEER, REMOTE)
        assert seen.sort((first[0], first[0])) is first[1]
        assert seen.sort((second, second)) is SPLIT
        # The refused one counts for nothing.
        assert seen.sort((first[0], first[0])) is first[1]

    @pytest.mark.parametrize("login", ["", ALICE, BOB])
    def test_a_chat_domain_s_sender_does_not_come_from_outside(self, login: str) -> None:
        verdict = sorter(PEER, ALICE, login).refused_sender()
        assert verdict is not None
        assert verdict.reply == "553 5.7.1 Senders of this domain log in and submit"

    def test_reports_come_in(self) -> None:
        assert sorter(PEER, "").refused_sender() is None


class TestUsers:
    def test_a_chat_domain_s_mail_is_judged_wherever_it_goes(self) -> None:
        seen = sorter(USER, ALICE, ALICE)
        assert seen.refused_sender() is None
        assert seen.direction is Direction.OUT
        assert [seen.sort((one, one)) for one in (BOB, REMOTE, ALICE)] == [JUDGED] * 3
        assert not seen.lets_by

    @pytest.mark.parametrize("login", ["", BOB, "alice", "mallory@chat.example"])
    def test_nobody_else_sends_as_a_chat_domain_s_address(self, login: str) -> None:
        verdict = sorter(USER, ALICE, login).refused_sender()
        assert verdict is not None
        assert verdict.reply == "553 5.7.1 Sender address rejected: not owned by user"

    def test_nor_does_a_chat_domain_s_user_send_as_others(self) -> None:
        seen = sorter(USER, BOB, ALICE)
        assert seen.refused_sender() is not None
        assert seen.direction is Direction.OUT

    def test_another_domain_s_mail_to_others_is_let_by_but_for_its_author(self) -> None:
        seen = sorter(USER, BOB, "bob")
        assert seen.refused_sender() is None
        assert [seen.sort((one, one)) for one in (BOB, REMOTE)] == [OTHERS, OTHERS]
        assert seen.watches_author

    def test_and_to_a_chat_domain_it_is_judged_as_it_comes_in_whoever_else_gets_it(self) -> None:
        seen = sorter(USER, BOB, BOB)
        assert seen.direction is Direction.IN
        assert [seen.sort((one, one)) for one in (BOB, ALICE, REMOTE)] == [OTHERS, JUDGED, OTHERS]


class TestAuthors:
    @pytest.mark.parametrize(
        "values",
        [
            [b"Alice <ALICE@chat.example>"],
            [b"alice@chat.example, bob@old.example"],
            [b"bob@old.example", b"alice@Chat.Example"],
            ["Alice <alice@bücher.example>".encode()],
            [b"x"] * AUTHORS_KEPT,
            # Obsolete forms (RFC 5322, 4.4), which many programs read all the same.
            [b"alice@ chat.example"],
            [b"Alice <alice @\r\n chat . example>"],
            [b"alice@chat. (a comment) example"],
            [b'alice@"chat.example"'],
            ["bob@old.example, alice@bücher.example".encode()],
            ["alice\N{FULLWIDTH COMMERCIAL AT}chat.example".encode()],
            [b"alice@=?utf-8?q?chat.example?="],
            [b"=?utf-8?q?alice=40chat.example?="],
        ],
    )
    def test_of_a_chat_domain_are_refused(self, values: list[bytes]) -> None:
        verdict = forged_author(CHAT, values, BOB)
        assert verdict is not None
        assert verdict.code == 500

    @pytest.mark.parametrize(
        "values",
        [
            [b"Bob <bob@old.example>"],
            [],
            [b"alice@chat.example <bob@old.example>x"],
            [b"Bob, Inc. (for short) <bob@old.example>"],
            [b"=?utf-8?q?B=C3=B6b?= Inc. <bob@old.example>, carl@old.example"],
        ],
    )
    def test_of_others_pass_if_they_name_no_other(self, values: list[bytes]) -> None:
        refused = forged_author(CHAT, values, BOB) is not None
        assert refused == any(b"chat.example" in value for value in values)


def test_without_a_list_all_mail_is_judged_and_postfix_compares_logins() -> None:
    for road in Direction:
        seen = sorter(road, ALICE, domains=ALL)
        assert seen.refused_sender() is None
        assert (seen.direction, seen.sort((BOB, BOB)), seen.watches_author) == (road, JUDGED, False)
