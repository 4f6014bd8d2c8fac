"""Mailboxes that fill up: the oldest mail goes; over the limit all roads say the same (RFC 3463, X.2.2)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.chat import mxdeliv, pgp, relay, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import Mailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.e2e.doors import Door
from tests.lab import Lab
from tests.lab.host import LabHost

CAROL = "carol@mta.lab"
FULL = "552 5.2.2"
# doveadm tells in KiB how full a mailbox is: this is exactly a thousand.
QUOTA = 1_024_000
TENTH = QUOTA // 10


def filler(name: str, octets: int) -> bytes:
    """A message that can be told from others by its Message-ID."""
    head = f"Message-ID: <{name}@old>\r\n\r\n".encode()
    lines = (octets - len(head)) // 80
    return head + (b"x" * 78 + b"\r\n") * lines + b"y" * ((octets - len(head)) % 80)


def names(mailbox: Mailbox) -> list[str]:
    """What fillers are there."""
    found = (one.partition(b"<")[2].partition(b"@old>") for one in mailbox.messages())
    return sorted(name.decode() for name, at, _ in found if at)


class Small(Mailbox):
    """A mailbox and its login."""

    def __init__(self, host: LabHost, login: Login) -> None:
        super().__init__(host.ip, *login)
        self.login = login


@pytest.fixture
def small(b: LabHost) -> Iterator[Small]:
    """An empty mailbox on _b.lab that holds `QUOTA` octets."""
    login = fresh_address(b.domain), fresh_password()
    with Small(b, login):
        relay.operate(b, "account", "quota", login[0], f"{QUOTA}B")
    # A session knows the quota that it began with.
    with Small(b, login) as small:
        yield small


def signed(lab: Lab, recipient: str, octets: int = 10) -> bytes:
    message = pgp.encrypted(CAROL, recipient, pgp.message_id(), secrets.token_urlsafe(octets))
    return signature.sign(message, "mta.lab", lab.paths)


def said_by(host: LabHost, since: str, identifier: str) -> list[str]:
    entries = host.journal(since=since)
    return [str(one["MESSAGE"]) for one in entries if one.get("SYSLOG_IDENTIFIER") == identifier]


def logged(host: LabHost, since: str) -> bool:
    lines = (str(one.get("MESSAGE")) for one in host.journal(since=since))
    return any("quota exceeded" in line.lower() for line in lines)


class TestFillingUp:
    def test_from_75_percent_on_the_oldest_goes_down_to_70(self, lab: Lab, b: LabHost, small: Small) -> None:
        # 70 %: seven days' mail, the oldest laid in last.
        for day in (3, 4, 5, 6, 7, 8, 9):
            small.put(filler(f"day{day}", TENTH), days=day)
        before = b.cursor()
        assert smtp.deliver(b.ip, CAROL, [small.login[0]], signed(lab, small.login[0], 60_000)).code == 250
        until("it is trimmed", lambda: said_by(b, before, "chatmail-trim"), 15)
        # And about 8 %: one is enough, and it is the one that came first.
        until("day 9 is gone", lambda: len(names(small)) == 6, 5)
        assert names(small) == [f"day{day}" for day in (3, 4, 5, 6, 7, 8)]
        assert len(small.messages()) == 7
        line = said_by(b, before, "chatmail-trim")[0]
        assert line == "event=trimmed messages=1 octets=102400"

    def test_the_last_day_stays_and_the_rest_may_come_until_it_is_full(
        self, lab: Lab, b: LabHost, small: Small
    ) -> None:
        for number in range(9):
            small.put(filler(f"new{number}", TENTH), days=0.9)
        before = b.cursor()
        small.put(filler("new9", 60_000))
        until("it was tried", lambda: said_by(b, before, "chatmail-trim"), 15)
        assert said_by(b, before, "chatmail-trim")[0] == "event=trimmed messages=0 octets=0"
        assert len(names(small)) == 10
        # A pass comes to the same end.
        b.run("systemctl start chatmail-expire")
        assert len(names(small)) == 10

    def test_a_pass_empties_what_could_not_go_in_time(self, b: LabHost, small: Small) -> None:
        login = small.login
        relay.operate(b, "account", "quota", login[0], "default")
        with Mailbox(b.ip, *login) as roomy:
            for day in range(2, 12):
                roomy.put(filler(f"day{day:02}", TENTH), days=day)
        relay.operate(b, "account", "quota", login[0], f"{QUOTA}B")
        b.run("systemctl start chatmail-expire")
        # Of ten tenths seven are left.
        assert names(small) == [f"day{day:02}" for day in range(2, 9)]


class TestFull:
    @pytest.fixture(autouse=True)
    def _fill(self, small: Small) -> None:
        small.put(filler("all", QUOTA), days=0.5)

    def test_strangers_are_told_by_both_doors(self, lab: Lab, b: LabHost, small: Small, door: Door) -> None:
        before = b.cursor()
        assert door(b, CAROL, [small.login[0]], signed(lab, small.login[0])).startswith(FULL)
        until("the log says so", lambda: logged(b, before), 10)

    def test_a_peer_that_asks_for_json_is_told_of_each(
        self, lab: Lab, b: LabHost, small: Small, reader: Login
    ) -> None:
        to = [small.login[0], reader[0]]
        answer = mxdeliv.post(b, CAROL, to, signed(lab, to[0]), Accept="application/json")
        each = {one["address"]: (one["code"], one["status"]) for one in answer.json["recipients"]}
        assert each == {small.login[0]: (552, "5.2.2"), reader[0]: (250, "2.0.0")}

    def test_a_user_is_told_when_sending(self, b: LabHost, small: Small, reader: Login) -> None:
        message = pgp.encrypted(reader[0], small.login[0], pgp.message_id())
        before = b.cursor()
        reply = smtp.submit(b.ip, reader, [small.login[0]], message)
        assert reply.line.startswith(FULL)
        assert logged(b, before)

    @pytest.mark.parametrize("road", ["local", "remote"])
    def test_who_writes_to_several_gets_a_bounce(
        self, a: LabHost, b: LabHost, small: Small, reader: Login, road: str
    ) -> None:
        host = b if road == "local" else a
        login = fresh_address(host.domain), fresh_password()
        with Mailbox(host.ip, *login) as sender:
            message = pgp.encrypted(login[0], small.login[0], pgp.message_id())
            before = b.cursor()
            assert smtp.submit(host.ip, login, [small.login[0], reader[0]], message).code == 250
            until("the bounce", sender.messages, 20)
            (bounce,) = sender.messages()
        assert b"Status: 5.2.2" in bounce
        assert small.login[0].encode() in bounce
        assert reader[0].encode() not in bounce
        assert logged(b, before)

    def test_the_operator_makes_room_at_once(self, lab: Lab, b: LabHost, small: Small) -> None:
        address = small.login[0]
        shown = relay.ctl(b, "account", "quota", address)
        assert (shown["quota"], shown["own"]) == (QUOTA, True)
        assert abs(shown["used"] - QUOTA) < 3000
        relay.operate(b, "account", "quota", address, "2MB")
        assert smtp.deliver(b.ip, CAROL, [address], signed(lab, address)).code == 250
        until("it arrives", lambda: len(small.messages()) == 2, 10)
        relay.operate(b, "account", "quota", address, "default")
        assert relay.ctl(b, "account", "quota", address)["quota"] == 500_000_000
