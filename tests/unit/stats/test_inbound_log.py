"""Log lines of the milter, of smtpd(8) and of the app become counts of what each peer delivered."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chatmail_milter.store.contacts import Contact, CountedEvent, Door
from mxdeliv_app.stats.inbound_log import contact, event

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
VERDICT = "road={} verdict={} reason={} queue=4jXjz71Ts6z7LNm size=961 domain={} seconds=0.0123"
REJECT = "NOQUEUE: reject: RCPT from unknown[192.0.2.7]: {}; from=<{}> to=<bob@a.test> proto=ESMTP helo=<mx>"


def read(identifier: str, message: str) -> Contact | None:
    return contact(identifier, message, NOON)


@pytest.mark.parametrize("road", ["smtp", "mxdeliv"])
def test_what_passed_is_a_success_of_the_author_by_either_road(road: str) -> None:
    found = read("chatmail-milter", VERDICT.format(road, "pass", "encrypted", "b.test"))
    assert found == Contact("b.test", "inbound", True, 0.0123, None, NOON, door=road)  # type: ignore[arg-type]


@pytest.mark.parametrize("verdict", ["reject", "tempfail"])
def test_a_verdict_against_it_is_a_failure_of_whom_it_claims_to_be_from(verdict: str) -> None:
    found = read("chatmail-milter", VERDICT.format("smtp", verdict, "dkim-none", "b.test"))
    assert found == Contact("b.test", "inbound", False, None, "dkim-none", NOON, claimed=True, named=True)


def test_nobody_is_claimed() -> None:
    found = read("chatmail-milter", VERDICT.format("smtp", "reject", "dkim-none", "-"))
    assert found is not None
    assert (found.domain, found.claimed) == ("", True)


def test_a_message_of_which_one_recipient_was_refused_came_by_https_too() -> None:
    found = read("chatmail-milter", VERDICT.format("mixed", "pass", "encrypted", "b.test"))
    assert found == Contact("b.test", "inbound", True, 0.0123, None, NOON, door="mxdeliv")


@pytest.mark.parametrize(("verdict", "reason"), [("pass", None), ("reject", "rate"), ("tempfail", "rate")])
def test_what_users_submit_is_of_no_peer(verdict: str, reason: str | None) -> None:
    found = read("chatmail-milter", f"road=submission verdict={verdict} reason=rate queue=4Xb2 size=961")
    assert found == Contact("", "submission", reason is None, None, reason, NOON)


@pytest.mark.parametrize(
    ("identifier", "door"), [("postfix/smtpd", "smtp"), ("postfix/mxdeliv/smtpd", "mxdeliv")]
)
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("550 5.1.1 <bob@a.test>: Recipient address rejected: User unknown", "unknown-user"),
        ("552 5.2.2 <bob@a.test>: Recipient address rejected: Mailbox is full", "mailbox-full"),
        ("452 4.2.2 <bob@a.test>: Recipient address rejected: Mailbox is full", "mailbox-full"),
        ("552 5.3.4 Message size exceeds fixed limit", "too-large"),
        ("553 5.7.1 <x@a.test>: Sender address rejected: log in and submit", "refused-553"),
        ("554 5.7.1 <bob@c.test>: Relay access denied", "refused-554"),
    ],
)
def test_what_postfix_refuses(identifier: str, door: Door, reply: str, reason: str) -> None:
    found = read(identifier, REJECT.format(reply, "x@B.test"))
    assert found == Contact("b.test", "inbound", False, None, reason, NOON, claimed=True, door=door)


@pytest.mark.parametrize("sender", ["", "x y", "x@b..test", "x@[1.2", "x@\u202e.test"])
def test_senders_that_name_no_domain(sender: str) -> None:
    found = read("postfix/smtpd", REJECT.format("550 5.1.1 no", sender))
    assert found is not None
    assert (found.domain, found.claimed) == ("", True)


def test_what_the_app_could_not_hand_over() -> None:
    line = "level=INFO event=failed domain=b.test status=503 reason=body-cut"
    wanted = Contact("b.test", "inbound", False, None, "body-cut", NOON, claimed=True, door="mxdeliv")
    assert read("gunicorn", line) == wanted
    null = read("gunicorn", "level=INFO event=failed domain=<> status=413 reason=too-large")
    assert null is not None
    assert (null.domain, null.reason) == ("", "too-large")


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("chatmail-milter", "store=away fault=OperationalError cause=OperationalError"),
        # The milter's verdict, which has a line of its own.
        (
            "postfix/smtpd",
            "NOQUEUE: milter-reject: RCPT from unknown[192.0.2.7]: 554 5.7.1 Sender is blocked;"
            " from=<x@b.test> to=<bob@a.test> proto=ESMTP helo=<mx.b.test>",
        ),
        ("postfix/smtpd", "connect from unknown[192.0.2.7]"),
        ("postfix/smtpd", "disconnect from unknown[192.0.2.7] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4"),
        (
            "gunicorn",
            'level=INFO event=received domain=b.test recipients=1 accepted=1 status=200 reply="250"',
        ),
        ("gunicorn", "level=INFO event=ready"),
    ],
)
def test_other_lines_count_nothing(identifier: str, message: str) -> None:
    assert read(identifier, message) is None


@pytest.mark.parametrize(
    ("identifier", "message", "counted"),
    [
        (
            "chatmail-milter",
            "road=submission verdict=reject reason=not-encrypted queue=4X size=9 decided=0.0021",
            CountedEvent("judged-submit", "reject not-encrypted", 0.0021),
        ),
        (
            "chatmail-milter",
            "road=mixed verdict=pass reason=encrypted queue=4X size=9 decided=0.5 domain=b.test seconds=0.6",
            CountedEvent("judged-mixed", "pass encrypted", 0.5),
        ),
        ("chatmail-milter", "road=unknown verdict=tempfail reason=daemon-name", None),
        (
            "gunicorn",
            "level=INFO event=received domain=b.test recipients=1 accepted=0 status=503"
            ' reply="450 4.2.1" seconds=1 queue=-',
            CountedEvent("mxdeliv", "503"),
        ),
        (
            "gunicorn",
            'level=INFO event=refused status=400 reason="status=200 "',
            CountedEvent("mxdeliv", "400"),
        ),
        (
            "gunicorn",
            "level=INFO event=failed domain=<> status=413 reason=too-large",
            CountedEvent("mxdeliv", "413"),
        ),
        ("gunicorn", 'level=WARNING event=queue-away error="status=200 "', None),
        (
            "chatmail-push",
            "level=INFO event=notice outcome=told reason=http-200 tries=1",
            CountedEvent("push", "told"),
        ),
        ("postfix/smtpd", "level=INFO event=notice outcome=told", None),
    ],
)
def test_what_else_is_counted(identifier: str, message: str, counted: CountedEvent | None) -> None:
    assert event(identifier, message) == counted
