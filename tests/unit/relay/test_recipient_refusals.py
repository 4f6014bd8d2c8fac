"""Refusals of peers that concern a recipient, and the reply to the next sender."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from chatmail_milter.config.values import HostPort
from chatmail_milter.store.refusals import RECIPIENT, Refusals
from chatmail_milter.verdict import Reply
from mxdeliv_app.mxdeliv.wire import RecipientReply
from mxdeliv_app.relay.recipient_refusals import RecipientRefusals, words_about

CAROL = "carol123@b.test"
NOW = datetime.now(UTC)


@pytest.fixture
def refusals(engine: Engine) -> RecipientRefusals:
    return RecipientRefusals(Refusals(engine, b"k" * 32), HostPort("127.0.0.1:10027"))


def said(refusals: RecipientRefusals, recipient: str = CAROL) -> str | None:
    verdict = refusals.verdict(recipient)
    return None if verdict is None else verdict.reply


def answered(code: int, enhanced: str, text: str) -> RecipientReply:
    return RecipientReply(CAROL, Reply(code, enhanced, text))


def logged(
    refusals: RecipientRefusals,
    status: str,
    outcome: str,
    relay: str = "mx.b.test[192.0.2.1]:25",
    to: str = CAROL,
) -> bool:
    line = (
        f"4BkX7d2wPz: to=<{to}>, relay={relay}, delay=0.82, delays=0.1/0.02/0.3/0.4, dsn={status}, {outcome}"
    )
    return refusals.logged(line, NOW)


# RFC 3463 and its registry. Exchange says 5.1.10 of users that it does not know.
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (550, "5.1.1"),
        (553, "5.1.3"),
        (550, "5.1.4"),
        (551, "5.1.6"),
        (550, "5.1.10"),
        (550, "5.2.1"),
        (552, "5.2.2"),
    ],
)
def test_a_final_refusal_of_a_recipient_is_repeated(
    refusals: RecipientRefusals, code: int, status: str
) -> None:
    refusals.heard([answered(code, status, "No such user")])
    assert said(refusals) == f"{code} {status} No such user"
    assert said(refusals, "dave1234@b.test") is None


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (450, "4.1.1"),
        (452, "4.2.2"),
        (523, "5.7.1"),
        (554, "5.7.1"),
        (550, "5.7.26"),
        (552, "5.3.4"),
        (552, "5.2.3"),
        (550, "5.1.0"),
        (553, "5.1.7"),
        (550, "5.1.8"),
        (550, "5.0.0"),
        (502, "5.2.0"),
        (554, "5.6.0"),
        (450, "5.1.1"),
    ],
)
def test_what_is_temporary_or_about_a_message_or_a_sender_is_not(
    refusals: RecipientRefusals, code: int, status: str
) -> None:
    refusals.heard([answered(code, status, "No")])
    assert said(refusals) is None


def test_a_reply_never_tells_postfix_to_hang_up(refusals: RecipientRefusals) -> None:
    # access(5): 521 does.
    refusals.heard([answered(521, "5.1.1", "Go away")])
    assert said(refusals) == "550 5.1.1 Go away"


def test_mail_that_is_taken_ends_it(refusals: RecipientRefusals) -> None:
    refusals.heard([answered(550, "5.1.1", "No such user")])
    refusals.heard([answered(250, "2.0.0", "OK")])
    assert said(refusals) is None


# As Postfix 3.7 writes them.
UNKNOWN = (
    f"status=bounced (host mx.b.test[192.0.2.1] said: 550 5.1.1 <{CAROL}>: Recipient address rejected: "
    "User unknown in local recipient table (in reply to RCPT TO command))"
)
GMAIL = (
    "status=bounced (host mx.b.test[192.0.2.1] said: 550-5.1.1 The email account that you tried to reach "
    f"does not exist. Please try 550-5.1.1 double-checking {CAROL} for typos 550 5.1.1 or spaces. - gsmtp "
    "(in reply to RCPT TO command))"
)


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (UNKNOWN, "550 5.1.1 User unknown in local recipient table"),
        (
            GMAIL,
            "550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking "
            f"{CAROL} for typos or spaces. - gsmtp",
        ),
        (
            "status=bounced (host mx.b.test[192.0.2.1] said: 550 5.1.1 (in reply to RCPT TO command))",
            "550 5.1.1 Recipient refused by its server",
        ),
        # To a message with one recipient, or with several, but of this one.
        (UNKNOWN.replace("RCPT TO", "end of DATA"), "550 5.1.1 User unknown in local recipient table"),
    ],
)
def test_what_smtp_was_told_is_repeated(refusals: RecipientRefusals, outcome: str, reply: str) -> None:
    assert logged(refusals, "5.1.1", outcome)
    assert said(refusals) == reply
    assert logged(refusals, "2.0.0", "status=sent (250 2.0.0 Ok: queued as 4F9C)", to="Carol123@B.TEST")
    assert said(refusals) is None


@pytest.mark.parametrize(
    ("status", "outcome", "relay"),
    [
        (
            "4.1.1",
            UNKNOWN.replace("550 5.1.1", "450 4.1.1").replace("bounced", "deferred"),
            "mx[192.0.2.1]:25",
        ),
        ("5.7.1", UNKNOWN.replace("5.1.1", "5.7.1"), "mx[192.0.2.1]:25"),
        # A reply to the message is for all of its recipients, because of whichever.
        ("5.1.1", UNKNOWN.replace(CAROL, "dan@b.test").replace("RCPT TO", "end of DATA"), "mx[192.0.2.1]:25"),
        ("5.2.2", UNKNOWN.replace(f"<{CAROL}>: ", "").replace("RCPT TO", "DATA"), "mx[192.0.2.1]:25"),
        # Ours to say, not a peer's.
        ("5.1.1", UNKNOWN, "127.0.0.1[127.0.0.1]:10027"),
        ("5.1.1", "status=bounced (unable to look up host b.test)", "none"),
        ("2.0.0", "status=sent (250 5.1.1 Ok)", "127.0.0.1[127.0.0.1]:10027"),
    ],
)
def test_other_lines_say_nothing_about_a_recipient(
    refusals: RecipientRefusals, status: str, outcome: str, relay: str
) -> None:
    assert not logged(refusals, status, outcome, relay)
    assert said(refusals) is None


def test_an_old_line_is_not_taken_up(refusals: RecipientRefusals) -> None:
    line = f"4BkX7d2wPz: to=<{CAROL}>, relay=mx.b.test[192.0.2.1]:25, delay=1, dsn=5.1.1, {UNKNOWN}"
    refusals.logged(line, datetime(2026, 1, 1, tzinfo=UTC))
    assert said(refusals) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("User unknown", "User unknown"),
        (f"<{CAROL}>: Recipient address rejected: User unknown", "User unknown"),
        (f"<{CAROL}>: no", "no"),
        (f"mailbox {CAROL.upper()} is full", f"mailbox {RECIPIENT} is full"),
        ("mailbox carol123 is full, ask someone@else.test", "mailbox … is full, ask …"),
        ("a\r\nb\x00c\tpeer", "a b c peer"),
        ("x" * 5000, "x" * 199 + "…"),
        ("", ""),
    ],
)
def test_words_name_nobody(text: str, words: str) -> None:
    assert words_about(CAROL, text) == words


def test_words_reach_postfix_in_one_line_of_ascii(refusals: RecipientRefusals) -> None:
    # The policy protocol is lines; SMTPUTF8 is off.
    refusals.heard([answered(550, "5.1.1", "nié\naction=OK\r\n\r\n" + CAROL)])
    assert said(refusals) == f"550 5.1.1 ni? action=OK {CAROL}"


def test_a_store_that_is_away_is_no_trouble(
    engine: Engine, refusals: RecipientRefusals, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE recipient_refusals"))
    refusals.heard([answered(550, "5.1.1", "No"), answered(250, "2.0.0", "OK")])
    assert said(refusals) is None
    assert "event=refusals-away error=OperationalError" in caplog.text
    assert "carol" not in caplog.text
