"""Log lines of Postfix and Dovecot, read as the path of one message, for demo and end-to-end tests."""

from __future__ import annotations

import json

import pytest

from tests.chat.hops import inbound_roads, trace
from tests.chat.journal import LoggedEntry, parse
from tests.chat.queue_log import queue_files

MID = "c2db8dac-675a@localhost"
SENDER = [
    LoggedEntry(
        10.100, "postfix/submission/smtpd", "4F1A2B3C: client=client.lab[10.77.0.31], sasl_username=x@_a.lab"
    ),
    LoggedEntry(10.110, "postfix/submission/cleanup", f"4F1A2B3C: message-id=<{MID}>"),
    LoggedEntry(10.150, "postfix/qmgr", "4F1A2B3C: from=<x@_a.lab>, size=1808, nrcpt=1 (queue active)"),
    LoggedEntry(
        10.400,
        "postfix/mxdeliv/lmtp",
        "4F1A2B3C: to=<y@_b.lab>, relay=_a.lab[chatmail/relay.sock], delay=0.3, delays=0.05/0.01/0.04/0.2, "
        "dsn=2.0.0, status=sent (250 2.0.0 OK)",
    ),
    LoggedEntry(10.401, "postfix/qmgr", "4F1A2B3C: removed"),
]
RECEIVER = [
    LoggedEntry(10.250, "postfix/{service}", "9D8E7F60: client=unknown[10.77.0.11]"),
    LoggedEntry(10.260, "postfix/cleanup", f"9D8E7F60: message-id=<{MID}>"),
    LoggedEntry(10.380, "postfix/qmgr", "9D8E7F60: from=<x@_a.lab>, size=2900, nrcpt=1 (queue active)"),
    LoggedEntry(10.410, "dovecot", f"lmtp(y@_b.lab)<77><abc>: msgid=<{MID}>: saved mail to INBOX"),
    LoggedEntry(
        10.420,
        "postfix/lmtp",
        "9D8E7F60: to=<y@_b.lab>, relay=_b.lab[private/dovecot-lmtp], delay=0.1, delays=0.1/0/0.01/0.03, "
        "dsn=2.0.0, status=sent (250 2.0.0 <y@_b.lab> Saved)",
    ),
]


def _receiver(service: str) -> list[LoggedEntry]:
    return [LoggedEntry(one.at, one.who.format(service=service), one.text) for one in RECEIVER]


@pytest.mark.parametrize(("service", "road"), [("mxdeliv/smtpd", "https"), ("smtpd", "smtp")])
def test_road_is_the_service_that_took_it(service: str, road: str) -> None:
    found = trace(SENDER, _receiver(service), MID, told=10.0, shown=10.5)
    assert found is not None
    assert found.road == road
    assert inbound_roads(_receiver(service), ["y@_b.lab"]) == [road]
    assert inbound_roads(_receiver(service), ["x@_a.lab"]) == []


def test_hops_are_the_times_between_the_moments_and_add_up() -> None:
    found = trace(SENDER, _receiver("mxdeliv/smtpd"), MID, told=10.0, shown=10.5)
    assert found is not None
    assert found.hops == pytest.approx((0.15, 0.05, 0.18, 0.01, 0.02, 0.09))
    assert found.total == pytest.approx(0.5)


@pytest.mark.parametrize("gone", range(len(RECEIVER) - 1))
def test_no_way_is_told_from_half_a_journal(gone: int) -> None:
    receiver = _receiver("mxdeliv/smtpd")
    assert trace(SENDER, receiver[:gone], MID, told=10.0, shown=10.5) is None


def test_a_retry_keeps_the_first_time_in_the_queue_and_both_attempts() -> None:
    deferred = (
        "4F1A2B3C: to=<y@_b.lab>, relay=none, delay=9, delays=0/1/8/0, dsn=4.4.1, status=deferred (timed out)"
    )
    again = "4F1A2B3C: from=<x@_a.lab>, size=1808, nrcpt=1 (queue active)"
    entries = [
        *SENDER[:3],
        LoggedEntry(10.2, "postfix/mxdeliv/lmtp", deferred),
        LoggedEntry(10.3, "postfix/qmgr", again),
    ]
    (file,) = queue_files([*entries, *SENDER[3:]])
    assert file.queued == 10.150
    assert [one.status for one in file.deliveries] == ["deferred", "sent"]
    assert file.deliveries[0].text == "timed out"


def test_journal_times_are_the_senders_own() -> None:
    line = {"MESSAGE": "hello", "SYSLOG_IDENTIFIER": "x", "__REALTIME_TIMESTAMP": "2000001"}
    binary = {"MESSAGE": [1, 2], "__REALTIME_TIMESTAMP": "1"}
    stamped = line | {"_SOURCE_REALTIME_TIMESTAMP": "1000001"}
    assert parse(map(json.dumps, (line, stamped, binary))) == [
        LoggedEntry(1.000001, "x", "hello"),
        LoggedEntry(2.000001, "x", "hello"),
    ]
