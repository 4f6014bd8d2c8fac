"""The installed milter beside other mail domains of the same Postfix, with the names of Debian's main.cf."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.blackbox.milter.installed_milter import (
    CLEAR,
    CLEARTEXT,
    GOOD,
    InstalledMilter,
    running,
    signed,
    told,
    written_by,
)
from tests.messages import ALICE
from tests.milter_client import MilterAnswer, MilterClient

# What Postfix names a service that nobody named.
SERVICE = "mx.old.example"
OLD, REMOTE = "bob@old.example", "carol@peer.example"
SPLIT = "452 4.5.3 Recipients of this domain take a transaction of their own"
CLAIMED = told(signed("peer.example")) + written_by(REMOTE)
LITERAL = "carol@[192.0.2.7]"
PASSED = "reason=other-domain"


@pytest.fixture(scope="module")
def milter() -> Iterator[InstalledMilter]:
    with running(mail='chat_domains = ["a.example"]', inbound='unsigned = "refuse"') as milter:
        yield milter


@pytest.fixture
def client(milter: InstalledMilter) -> Iterator[MilterClient]:
    with MilterClient(milter.path) as client:
        client.connect(SERVICE)
        yield client


def test_mail_of_other_domains_passes_untouched_and_the_log_says_so(
    client: MilterClient, milter: InstalledMilter
) -> None:
    logged = milter.log.count(PASSED)
    forged = b"Authentication-Results: x; dkim=pass\r\n"
    assert client.message(REMOTE, [OLD], forged + CLEAR) == MilterAnswer("continue")
    assert client.message(
        OLD, [REMOTE], CLEAR.replace(b"alice@a.", b"bob@old."), login="bob"
    ) == MilterAnswer("continue")
    assert milter.log.count(PASSED) == logged + 2
    assert "road=smtp verdict=pass reason=other-domain queue=4Xb2 size=0 decided=" in milter.log


def test_mail_to_a_chat_domain_is_judged_as_everywhere(client: MilterClient) -> None:
    assert client.message(LITERAL, [ALICE], written_by(LITERAL)).reply == "continue"
    assert client.message(REMOTE, [ALICE], CLEAR).reply == CLEARTEXT
    assert client.message(REMOTE, [ALICE], written_by(REMOTE)).reply == "554 5.7.1 No DKIM signature found"


def test_no_stranger_s_word_on_dkim_is_believed(client: MilterClient) -> None:
    # In whole the same field would be OpenDKIM's: Postfix drops what strangers write in our name.
    assert client.message(REMOTE, [ALICE], CLAIMED).reply.startswith(("451 4.7.5", "554 5.7.1"))


def test_what_postfix_makes_of_a_recipient_decides(client: MilterClient) -> None:
    assert client.envelope(REMOTE, []) == []
    assert client.recipient("alice%a.example@old.example", "alice@a.example") == "continue"
    assert client.recipient(OLD) == SPLIT


@pytest.mark.parametrize("envelope", [(ALICE, OLD), (OLD, ALICE)])
def test_of_a_peer_s_mixed_envelope_one_kind_is_taken_and_the_other_sent_again(
    client: MilterClient, envelope: tuple[str, str]
) -> None:
    assert client.envelope(REMOTE, envelope) == ["continue", SPLIT]
    client.header([(b"From", b"<carol@peer.example>")])
    client.body(b"Hello\r\n")
    assert client.end().reply == (CLEARTEXT if envelope[0] == ALICE else "continue")


def test_of_a_user_s_mixed_envelope_all_is_judged(client: MilterClient) -> None:
    assert (
        client.message(OLD, [OLD, ALICE], CLEAR.replace(b"alice@a.", b"bob@old."), login=OLD).reply
        == CLEARTEXT
    )
    # Signed, if at all, by a milter after ours; the login vouches for it.
    assert client.message(OLD, [OLD, ALICE], written_by(OLD), login=OLD).reply == "continue"
    # Nobody has compared this login with the sender.
    assert (
        client.message(OLD, [ALICE], written_by(OLD), login="eve").reply
        == "554 5.7.1 No DKIM signature found"
    )


def test_nobody_of_another_domain_sends_as_a_chat_domain_s_address(client: MilterClient) -> None:
    refused = "553 5.7.1 Sender address rejected: not owned by user"
    assert client.message(ALICE, [REMOTE], GOOD, login="bob").reply == refused
    assert client.message(ALICE, [REMOTE], GOOD).reply == "553 5.7.1 Senders of this domain log in and submit"
    invalid = "500 5.7.1 Invalid FROM <alice@a.example> for <bob@old.example>"
    assert client.message(OLD, [REMOTE], GOOD, login="bob").reply == invalid
    assert client.message(OLD, [OLD, ALICE], GOOD, login="bob").reply == invalid
    assert client.message(ALICE, [REMOTE, OLD], GOOD, login=ALICE).reply == "continue"
    assert client.message(ALICE, [OLD], CLEAR, login=ALICE).reply == CLEARTEXT


@pytest.mark.parametrize("sender", [OLD, ""])
def test_no_program_of_this_host_writes_as_a_chat_domain_s_address(
    milter: InstalledMilter, sender: str
) -> None:
    # mynetworks lets it send anywhere, and OpenDKIM would sign it.
    with MilterClient(milter.path) as client:
        client.connect(SERVICE, "127.0.0.1")
        invalid = f"500 5.7.1 Invalid FROM <alice@a.example> for <{sender}>"
        assert client.message(sender, [REMOTE], CLEAR).reply == invalid
        assert client.message(sender, [REMOTE], CLEAR.replace(b"alice@a.", b"bob@old.")).reply == "continue"
        # What DKIM decides.
        assert client.message(sender, [ALICE], GOOD).reply == "554 5.7.1 No DKIM signature found"


def test_nor_does_who_logs_in_where_peers_come_in(milter: InstalledMilter) -> None:
    with MilterClient(milter.path) as client:
        client.connect("smtp")
        assert client.message(OLD, [REMOTE], CLEAR, login=OLD).reply.startswith("500 5.7.1 Invalid FROM")
        # A list elsewhere that sends on what a chat domain's user wrote.
        assert client.message(REMOTE, [OLD], CLEAR).reply == "continue"


def test_a_sender_that_postfix_makes_a_chat_domain_s_is_one(client: MilterClient) -> None:
    answers = client.envelope("alice%a.example", [REMOTE], "bob", resolved="alice@a.example")
    assert answers == ["553 5.7.1 Sender address rejected: not owned by user"]


def test_a_store_that_is_away_holds_up_no_mail_of_other_domains() -> None:
    with (
        running(store="gone/store", mail='chat_domains = ["a.example"]') as milter,
        MilterClient(milter.path) as client,
    ):
        client.connect(SERVICE)
        assert client.message(REMOTE, [OLD], CLEAR).reply == "continue"
        assert client.message(LITERAL, [ALICE], written_by(LITERAL)).reply.startswith("451 4.3.0")
