"""Log lines of smtp(8), in the format of Postfix 3.7, become counts, and the cause in a deferred reply."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from chatmail_milter.config.values import HostPort
from chatmail_milter.store.contacts import Contact, Road
from chatmail_milter.store.peers import Peers
from chatmail_milter.store.tables import metadata
from mxdeliv_app.stats.smtp_log import SmtpLog, SmtpWords

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HTTPS_ONLY = HostPort("127.0.0.1:10027")


def read(*lines: str, pid: int = 7) -> Contact | None:
    """What the last of the lines of one process tells."""
    log = SmtpLog(HTTPS_ONLY)
    return [log.contact(pid, line, NOON) for line in lines][-1]


def line(
    to: str = "bob@b.test",
    relay: str = "mx.b.test[192.0.2.1]:25",
    delays: str = "0.1/0.02/0.3/0.4",
    dsn: str = "2.0.0",
    status: str = "sent (250 2.0.0 Ok: queued as 4F9C)",
    queue_id: str = "4BkX7d2wPz",
) -> str:
    return f"{queue_id}: to=<{to}>, relay={relay}, delay=0.82, delays={delays}, dsn={dsn}, status={status}"


def test_sent_is_a_success_that_took_connecting_and_transmission() -> None:
    found = read(line())
    assert found is not None
    assert (found.domain, found.road, found.ok, found.reason) == ("b.test", "smtp", True, None)
    assert found.latency == pytest.approx(0.7)


def test_reused_connection_and_original_recipient_are_understood() -> None:
    text = line().replace("relay=", "orig_to=<x@y.test>, relay=").replace("delay=", "conn_use=2, delay=")
    assert read(text) is not None


def test_domain_is_canonical() -> None:
    found = read(line(to="Bob@B.TEST"))
    assert found is not None
    assert found.domain == "b.test"
    literal = read(line(to="bob@[192.0.2.1]"))
    assert literal is not None
    assert literal.domain == "[192.0.2.1]"


@pytest.mark.parametrize(
    ("dsn", "status", "reason"),
    [
        ("4.4.1", "deferred (connect to mx.b.test[192.0.2.1]:25: Connection refused)", "connect"),
        ("4.4.1", "deferred (connect to mx.b.test[192.0.2.1]:25: Connection timed out)", "timeout"),
        ("4.4.1", "deferred (connect to mx.b.test[192.0.2.1]:25: No route to host)", "connect"),
        ("4.4.2", "deferred (lost connection with mx.b.test[192.0.2.1] while sending RCPT TO)", "network"),
        (
            "5.4.4",
            "bounced (Host or domain name not found. Name service error for name=b.test type=MX: x)",
            "dns",
        ),
        ("4.7.5", "deferred (Server certificate not trusted)", "tls"),
        (
            "5.1.1",
            "bounced (host mx.b.test[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command))",
            "smtp-5yz",
        ),
        (
            "4.2.0",
            "deferred (host mx.b.test[192.0.2.1] said: 450 4.2.0 TLS timed out (in reply to DATA))",
            "smtp-4yz",
        ),
        ("4.3.0", "deferred (something new)", "smtp-4yz"),
    ],
)
def test_failures_have_reasons_from_a_closed_list(dsn: str, status: str, reason: str) -> None:
    found = read(line(dsn=dsn, status=status))
    assert found is not None
    assert (found.ok, found.latency, found.reason) == (False, None, reason)


@pytest.mark.parametrize("status", ["sent (250 2.0.0 OK)", "deferred (host 127.0.0.1 said: 451 4.4.1 Peer)"])
def test_handed_back_to_us_is_a_failure_of_smtp_whatever_became_of_it(status: str) -> None:
    found = read(line(relay="127.0.0.1[127.0.0.1]:10027", status=status))
    assert found is not None
    assert (found.ok, found.reason) == (False, "handed-back")


def counted(log: SmtpLog, *lines: str, pid: int = 7) -> list[Contact]:
    return [one for line in lines if (one := log.contact(pid, line, NOON)) is not None]


def test_recipients_of_one_delivery_are_one_attempt() -> None:
    log = SmtpLog(HTTPS_ONLY)
    assert len(counted(log, line(to="ann@b.test"), line(to="bob@b.test"))) == 1
    assert len(counted(log, line(queue_id="other"))) == 1
    # Over a connection that is kept, `connect` is near nothing and conn_use counts.
    reused = line(queue_id="third", delays="0.1/0.02/0/0.4").replace("delay=", "conn_use=2, delay=")
    assert [one.latency for one in counted(log, reused)] == [pytest.approx(0.4)]
    later = line(to="ann@b.test", delays="300/0/0.1/0.2")
    assert len(counted(log, later)) == 1, "the next try of a deferred message is another attempt"


def test_refused_for_one_and_taken_for_another_is_a_success() -> None:
    # As Postfix 3.7 logs it: the refusal as it is heard, with a d of its own, the rest at the end.
    refused = line(
        to="no@b.test",
        delays="0.0025/0.001/0.0036/0.054",
        dsn="5.1.1",
        status="bounced (host mx.b.test[192.0.2.1] said: 550 5.1.1 <no@b.test>: User unknown (in reply to"
        " RCPT TO command))",
    )
    taken = line(to="bob@b.test", delays="0.0025/0.001/0.0036/0.062")
    first, second = counted(SmtpLog(HTTPS_ONLY), refused, taken, refused, taken)
    assert (first.ok, first.reason, first.instead_of) == (False, "smtp-5yz", None)
    assert first.words.startswith("host mx.b.test[192.0.2.1] said: 550 5.1.1 <…>: User unknown")
    assert (second.ok, second.instead_of) == (True, "smtp-5yz")


HANDED_BACK = line(
    relay="127.0.0.1[127.0.0.1]:10027",
    dsn="4.4.1",
    status="deferred (host 127.0.0.1[127.0.0.1] said: 451 4.4.1 Peer could not be reached over HTTPS)",
)


@pytest.mark.parametrize(
    ("lines", "reason", "words"),
    [
        (
            ["connect to mx.b.test[192.0.2.1]:25: Connection refused"],
            "connect",
            "connect to mx.b.test[192.0.2.1]:25: Connection refused",
        ),
        (
            [
                "connect to one.b.test[192.0.2.1]:25: Connection refused",
                "connect to two.b.test[192.0.2.2]:25: Connection timed out",
            ],
            "timeout",
            "connect to one.b.test[192.0.2.1]:25: Connection refused; "
            "connect to two.b.test[192.0.2.2]:25: Connection timed out",
        ),
        (
            ["4BkX7d2wPz: host mx.b.test[192.0.2.1] said: 450 4.2.1 <bob@b.test>: greylisted, bob"],
            "smtp-4yz",
            "host mx.b.test[192.0.2.1] said: 450 4.2.1 <…>: greylisted, …",
        ),
        (
            ["4BkX7d2wPz: host mx.b.test[192.0.2.1] refused to talk to me: 554 5.7.1 go away"],
            "smtp-5yz",
            "host mx.b.test[192.0.2.1] refused to talk to me: 554 5.7.1 go away",
        ),
        (
            [
                "server certificate verification failed for mx.b.test[192.0.2.1]:25: num=62:other name",
                "4BkX7d2wPz: Server certificate not verified",
            ],
            "tls",
            "server certificate verification failed for mx.b.test[192.0.2.1]:25: num=62:other name; "
            "Server certificate not verified",
        ),
        (
            [
                "certificate verification failed for mx.b.test[192.0.2.1]:25: self-signed certificate",
                "4BkX7d2wPz: Server certificate not verified",
            ],
            "tls",
            "certificate verification failed for mx.b.test[192.0.2.1]:25: self-signed certificate; "
            "Server certificate not verified",
        ),
        (
            ["4BkX7d2wPz: TLS is required, but was not offered by host mx.b.test[192.0.2.1]"],
            "tls",
            "TLS is required, but was not offered by host mx.b.test[192.0.2.1]",
        ),
        (
            [
                "warning: connect to private/tlsproxy service: No such file or directory",
                "4BkX7d2wPz: Cannot start TLS: handshake failure",
            ],
            "tls",
            "Cannot start TLS: handshake failure",
        ),
        (["4BkX7d2wPz: replace: header Subject: secret from x@y"], "handed-back", ""),
    ],
)
def test_what_went_wrong_before_it_was_handed_back(lines: list[str], reason: str, words: str) -> None:
    found = read(*lines, HANDED_BACK)
    assert found is not None
    assert (found.ok, found.reason, found.words) == (False, reason, words)


def test_trouble_is_of_the_process_and_the_message_that_met_it() -> None:
    log = SmtpLog(HTTPS_ONLY)
    log.contact(7, "connect to mx.b.test[192.0.2.1]:25: Connection refused", NOON)
    (other,) = counted(log, HANDED_BACK.replace("4BkX7d2wPz", "other"), pid=8)
    assert other.reason == "handed-back"
    assert [one.reason for one in counted(log, HANDED_BACK)] == ["connect"]
    (later,) = counted(log, HANDED_BACK.replace("4BkX7d2wPz", "later"))
    assert later.reason == "handed-back"


@pytest.mark.parametrize(
    "text",
    [
        "connect to mx.b.test[192.0.2.1]:25: Connection refused",
        "Untrusted TLS connection established to mx.b.test[192.0.2.1]:25: TLSv1.3 with cipher X",
        "4BkX7d2wPz: removed",
        "4BkX7d2wPz: to=<bob>, relay=none, delay=1, delays=1/0/0/0, dsn=5.1.3, status=bounced (bad address)",
        "",
    ],
)
def test_other_lines_count_nothing(text: str) -> None:
    assert read(text) is None


NO_TLS = "TLS is required, but was not offered by host mail.b.test[192.0.2.1]"


def failed(domain: str, words: str, ago: timedelta, road: Road = "smtp") -> Contact:
    at = datetime.now(UTC) - ago
    return Contact(domain, road, False, None, "tls", at, words=words)


def test_last_words_of_smtp_are_told(engine: Engine) -> None:
    minute = timedelta(minutes=1)
    Peers(engine).add([failed("b.test", "old", 3 * minute), failed("b.test", NO_TLS, 2 * minute)])
    Peers(engine).add([failed("b.test", "404", minute, "https"), failed("c.test", "other", minute)])
    assert SmtpWords(engine).of("b.test") == NO_TLS


def test_old_words_are_not(engine: Engine) -> None:
    Peers(engine).add([failed("b.test", NO_TLS, timedelta(hours=2))])
    assert SmtpWords(engine).of("b.test") == ""


def test_nothing_is_told_of_a_store_that_is_away(engine: Engine) -> None:
    metadata.drop_all(engine)
    assert SmtpWords(engine).of("b.test") == ""
