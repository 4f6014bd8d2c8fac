"""`make test-faults` computes from the journals how many duplicates a fault allows."""

from __future__ import annotations

import pytest

from tests.chat.journal import LoggedEntry
from tests.faults.cuts import cut_off, delivered_twice

ID = "4jXp290cvhz7m5C"
DELAYS = "delay=14, delays=0.38/13/0.0015/0.053"
ACTIVE = f"{ID}: from=<a@_a.lab>, size=1322, nrcpt=1 (queue active)"


def entries(*lines: tuple[str, str]) -> list[LoggedEntry]:
    return [LoggedEntry(float(at), who, text) for at, (who, text) in enumerate(lines)]


def delivery(agent: str, status: str, words: str) -> tuple[str, str]:
    return agent, f"{ID}: to=<b@_b.lab>, relay=b[1], {DELAYS}, dsn=4.4.2, status={status} ({words})"


CUT = [
    "lost connection with _b.lab[10.77.0.12] while sending end of data -- message may be sent more than once",
    "conversation with b timed out while sending end of data -- message may be sent more than once",
    "lost connection with _b.lab[private/dovecot-lmtp] while sending message body",
    "unknown mail transport error",
]
NOT_CUT = [
    "connect to _b.lab[10.77.0.12]:25: Connection refused",
    "lost connection with _b.lab[10.77.0.12] while receiving the initial server greeting",
    "lost connection with _b.lab[10.77.0.12] while sending RCPT TO",
    "host a[chatmail/relay.sock] said: 451 4.4.1 Peer could not be reached (in reply to end of DATA command)",
]


@pytest.mark.parametrize("words", CUT)
def test_postfix_did_not_hear_whether_it_was_taken(words: str) -> None:
    assert cut_off(entries(delivery("postfix/smtp-mx/smtp", "deferred", words)))["Postfix"] == 1


@pytest.mark.parametrize("words", NOT_CUT)
def test_postfix_knows_that_it_was_not_taken(words: str) -> None:
    assert not cut_off(entries(delivery("postfix/smtp-mx/smtp", "deferred", words)))


def test_message_that_was_active_when_postfix_died_counts() -> None:
    qmgr = "postfix/qmgr"
    twice = entries((qmgr, ACTIVE), (qmgr, ACTIVE))
    assert cut_off(twice, agents=7)["Postfix"] == 1
    assert not cut_off(twice, agents=0)


def test_message_that_was_put_off_before_it_became_active_again_does_not() -> None:
    put_off = delivery("postfix/lmtp", "deferred", NOT_CUT[0])
    assert not cut_off(entries(("postfix/qmgr", ACTIVE), put_off, ("postfix/qmgr", ACTIVE)), agents=7)


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("level=INFO event=https-failed domain=_f01.lab mode=https-first reason=timeout", "HTTPS"),
        ("level=INFO event=https-failed domain=_f01.lab mode=https-only reason=http-502", "HTTPS"),
        ("level=INFO event=repeated host=_b.lab reason=network", "ours"),
        ('level=WARNING event=queue-away error="hung up"', "ours"),
        ('level=WARNING event=queue-away error="read: timed out"', "ours"),
        ("level=ERROR event=reinject-failed error=ConnectionResetError", "ours"),
    ],
)
def test_our_programs_did_not_hear_it(text: str, who: str) -> None:
    assert dict(cut_off(entries(("program", text)))) == {who: 1}


@pytest.mark.parametrize("reason", ["connect", "connect-timeout", "tls", "dns", "http-404", "refused-451"])
def test_https_that_was_answered_or_never_began_does_not_count(reason: str) -> None:
    assert not cut_off(entries(("mxdeliv-relay", f"event=https-failed domain=d mode=m reason={reason}")))


def test_postfix_that_was_not_even_there_does_not_count() -> None:
    said = [
        'event=queue-away error="connect: Connection refused"',
        "event=reinject-failed error=ConnectionRefusedError",
    ]
    assert not cut_off(entries(*(("program", text) for text in said)))


def test_delivery_that_was_heard_of_and_made_again_is_found() -> None:
    sent = delivery("postfix/lmtp", "sent", "250 2.0.0 Saved")
    assert delivered_twice(entries(sent)) == 0
    assert delivered_twice(entries(sent, sent)) == 1
