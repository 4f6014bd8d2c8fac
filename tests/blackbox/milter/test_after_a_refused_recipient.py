"""After a refused recipient, the reply to a message without content repeats the refusal (RFC 2920, 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mxdeliv_app.stats import inbound_log
from tests.blackbox.milter.installed_milter import (
    CLEAR,
    CLEARTEXT,
    GOOD,
    InstalledMilter,
    running,
    signed,
    told,
)
from tests.messages import ALICE, BOB
from tests.milter_client import MilterAnswer, MilterClient, fields

NOBODY = "nobody12@b.example"
UNKNOWN = "5.1.1", "Recipient address rejected: User unknown"
REPEATED = f"550 5.1.1 <{NOBODY}>: Recipient address rejected: User unknown"


@pytest.fixture(params=["smtp", "mxdeliv", "submission"])
def client(milter: InstalledMilter, request: pytest.FixtureRequest) -> Iterator[MilterClient]:
    with MilterClient(milter.path) as client:
        client.connect(request.param)
        yield client


def end_without_content(client: MilterClient) -> MilterAnswer:
    """A lone dot. OpenDKIM adds its field to that as well."""
    client.header(fields(b"Authentication-Results: mx.a.example; dkim=none"))
    return client.end()


@pytest.mark.parametrize(
    ("status", "text", "reply"),
    [
        (*UNKNOWN, REPEATED),
        (
            "5.2.2",
            "Recipient address rejected: Quota exceeded",
            "552 5.2.2 <{}>: Recipient address rejected: Quota exceeded",
        ),
        ("5.7.1", "Relay access denied", "554 5.7.1 <{}>: Relay access denied"),
        ("4.3.5", "Server configuration problem", "451 4.3.5 <{}>: Server configuration problem"),
        ("4.2.0", "100% later", "450 4.2.0 <{}>: 100% later"),
        ("5.5.4", "", "550 5.5.4 <{}>: "),
        ("what", "is this", "550 5.1.0 <{}>: is this"),
    ],
)
def test_the_refusal_is_repeated(client: MilterClient, status: str, text: str, reply: str) -> None:
    assert client.envelope(ALICE, [BOB]) == ["continue"]
    client.refused(NOBODY, status, text)
    assert end_without_content(client).reply == reply.format(NOBODY)


def test_the_first_of_several_is(client: MilterClient) -> None:
    assert client.envelope(ALICE, []) == []
    client.refused(NOBODY, *UNKNOWN)
    client.refused("other123@b.example", "4.3.0", "later")
    assert client.recipient(BOB) == "continue"
    assert client.end().reply == REPEATED


def test_it_is_forgotten_with_its_transaction(client: MilterClient) -> None:
    client.envelope(ALICE, [BOB])
    client.refused(NOBODY, *UNKNOWN)
    client.send(b"A")
    for _ in range(2):
        client.envelope(ALICE, [BOB])
        assert end_without_content(client).reply != REPEATED
        client.envelope(ALICE, [BOB])
        client.refused(NOBODY, *UNKNOWN)
        assert end_without_content(client).reply == REPEATED


@pytest.mark.parametrize("road", ["smtp", "mxdeliv"])
def test_a_message_for_the_others_is_judged_as_ever(milter: InstalledMilter, road: str) -> None:
    with MilterClient(milter.path) as client:
        client.connect(road)
        for message, reply in ((GOOD, "continue"), (b"From: <alice@a.example>\r\n\r\nhello\r\n", CLEARTEXT)):
            client.envelope(ALICE, [BOB])
            client.refused(NOBODY, *UNKNOWN)
            header, _, body = (told(signed()) + message).partition(b"\r\n\r\n")
            client.header(fields(header))
            client.body(body)
            assert client.end().reply == reply


def test_without_a_refused_recipient_it_is_no_encrypted_message(milter: InstalledMilter) -> None:
    with MilterClient(milter.path) as client:
        client.connect("smtp")
        client.envelope(ALICE, [BOB])
        assert end_without_content(client).reply == CLEARTEXT


def test_refused_recipients_cost_no_user_a_token() -> None:
    with running(per_minute=1, burst=1) as milter, MilterClient(milter.path) as client:
        client.connect("submission")
        for _ in range(3):
            client.envelope(ALICE, [])
            client.refused(NOBODY, *UNKNOWN)
            client.send(b"A")
        assert client.envelope(ALICE, [BOB]) == ["continue"]


def test_recipients_that_will_bounce_are_recipients() -> None:
    with running(per_minute=1, burst=1) as milter, MilterClient(milter.path) as client:
        client.connect("submission")
        for answer in ("continue", f"450 4.7.1: Too much mail from <{ALICE}>"):
            client.envelope(ALICE, [])
            assert client.bounced_later("x@[300.1.1.1]@malformed.invalid") == answer
            if answer == "continue":
                header, _, body = GOOD.partition(b"\r\n\r\n")
                client.header(fields(header))
                client.body(body)
                assert client.end().reply == "continue"


class TestMixed:
    """The way in where Dovecot refuses after the queue: a bounce must be able to reach the sender."""

    def take(self, milter: InstalledMilter, sender: str, message: bytes = GOOD) -> MilterAnswer:
        return milter.take(message, sender, signed(), road="mixed")

    def test_of_a_sender_who_is_the_author_it_is_taken(self, milter: InstalledMilter) -> None:
        assert self.take(milter, ALICE) == MilterAnswer("continue")

    @pytest.mark.parametrize("sender", ["list@c.example", ""])
    def test_of_another_it_is_put_off(self, milter: InstalledMilter, sender: str) -> None:
        reply = "452 4.5.3 Some recipients are refused, and no bounce could tell"
        assert self.take(milter, sender) == MilterAnswer(reply)

    def test_what_is_refused_for_good_is_refused(self, milter: InstalledMilter) -> None:
        assert self.take(milter, "list@c.example", CLEAR).reply == CLEARTEXT
        refused = milter.take(GOOD, "list@c.example", road="mixed").reply
        assert refused == "554 5.7.1 No DKIM signature found"

    def test_the_relay_counts_it(self, milter: InstalledMilter) -> None:
        self.take(milter, "")
        line = milter.log.splitlines()[-1]
        counted = inbound_log.contact("chatmail-milter", line, datetime.now(UTC))
        assert counted is not None
        assert (counted.domain, counted.ok, counted.reason) == ("a.example", False, "unreportable")
