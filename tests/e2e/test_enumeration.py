"""A peer learns of few unknown names, by port 25 and HTTPS together; other peers are not affected."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from tests.chat import mxdeliv, pgp, settings, smtp
from tests.e2e.conftest import Login
from tests.lab.host import LabHost
from tests.lab.visitor import seen_as

PEER = "someone12345@peer.lab"
STRANGER = "10.77.0.97"
UNKNOWN = "550 5.1.1 "
NOT_TOLD = "450 4.7.1 "
SERVICE = "chatmail-recipients.service"
JSON = {"Accept": "application/json"}


@pytest.fixture
def _few(b: LabHost) -> Iterator[None]:
    """A peer is told of three at once, and none it was told of yet."""
    message(PEER)
    with (
        settings.changed(b, "unknown_burst", "3", SERVICE),
        settings.changed(b, "unknown_per_minute", "1", SERVICE),
    ):
        yield


def rcpt(host: LabHost, *recipients: str) -> list[str]:
    """How the answers to a stranger on port 25 begin."""
    with seen_as(STRANGER, host.ip), smtp.peer(host.ip) as session:
        session.ehlo()
        session.mail(PEER)
        said = (session.rcpt(one) for one in recipients)
        return [f"{code} {text.decode()} "[:10] for code, text in said]


@cache
def message(recipient: str) -> bytes:
    """Made once: it takes long on a busy machine, and the peer is told of another name each minute."""
    return pgp.encrypted(PEER, recipient, pgp.message_id())


def posted(host: LabHost, *recipients: str, **fields: str) -> mxdeliv.MxdelivAnswer:
    with seen_as(STRANGER, host.ip):
        return mxdeliv.post(host, PEER, recipients, message(PEER), **fields)


def names(host: LabHost, begin: str, number: int) -> list[str]:
    return [f"{begin}{one:08}@{host.domain}" for one in range(number)]


@pytest.mark.usefixtures("_few")
def test_both_ways_in_share_the_limit_and_hide_accounts_beyond_it(b: LabHost, reader: Login) -> None:
    tried = names(b, "a", 4)
    assert rcpt(b, *tried[:2]) == [UNKNOWN] * 2
    assert posted(b, tried[2]).line[:10] == UNKNOWN
    assert rcpt(b, tried[3], reader[0]) == [NOT_TOLD] * 2
    assert posted(b, tried[3]).status == posted(b, reader[0]).status == 503
    # What it was told it is told again.
    assert rcpt(b, *tried[:3]) == [UNKNOWN] * 3
    # Another peer, the test itself, is told of the account and of who has none.
    with smtp.peer(b.ip) as session:
        session.ehlo()
        session.mail(PEER)
        assert session.rcpt(reader[0])[0] == 250
        assert session.rcpt(tried[3])[0] == 550


@pytest.mark.usefixtures("_few")
def test_mail_goes_on_to_whom_the_peer_was_told_of(b: LabHost, reader: Login) -> None:
    assert rcpt(b, reader[0]) == ["250 2.1.5 "]
    tried = names(b, "b", 4)
    assert rcpt(b, *tried) == [UNKNOWN] * 3 + [NOT_TOLD]
    assert rcpt(b, reader[0]) == ["250 2.1.5 "]
    # Of a message to both, JSON tells each; a bounce would tell what was hidden.
    answer = posted(b, reader[0], tried[3], **JSON)
    assert [one["code"] for one in answer.json["recipients"]][1] == 450
    assert posted(b, reader[0], tried[3]).status == 406


@pytest.mark.usefixtures("_few")
def test_a_session_that_outlives_the_service_goes_on_with_the_next(b: LabHost) -> None:
    tried = names(b, "e", 5)
    with seen_as(STRANGER, b.ip), smtp.peer(b.ip) as session:
        session.ehlo()
        session.mail(PEER)
        assert session.rcpt(tried[0])[0] == 550
        # It forgets what it told.
        b.run(f"systemctl restart {SERVICE}")
        assert [session.rcpt(one)[0] for one in tried[1:]] == [550] * 3 + [450]


def test_vrfy_tells_nothing(b: LabHost, reader: Login) -> None:
    with smtp.peer(b.ip) as session:
        session.ehlo()
        assert [session.verify(one)[0] for one in (reader[0], *names(b, "c", 1))] == [252, 252]


@pytest.mark.parametrize("trouble", ["stop chatmail-recipients.socket {}", "kill --signal=STOP {}"])
def test_without_the_service_dovecot_answers(b: LabHost, reader: Login, trouble: str) -> None:
    b.run(f"systemctl {trouble.format(SERVICE)}")
    try:
        assert rcpt(b, reader[0], *names(b, "d", 1)) == ["250 2.1.5 ", UNKNOWN]
    finally:
        b.run(f"systemctl kill --signal=CONT {SERVICE}; systemctl start chatmail-recipients.socket {SERVICE}")
