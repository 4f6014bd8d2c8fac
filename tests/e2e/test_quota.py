"""Full mailboxes: the sender who fills one loses mail; above the quota all ports say so (RFC 3463, X.2.2)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.chat import mxdeliv, pgp, relay, signature, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.e2e.doors import Door
from tests.lab import Lab
from tests.lab.host import LabHost

FULL = "552 5.2.2"
# doveadm tells in KiB how full a mailbox is: this is exactly a thousand.
QUOTA = 1_024_000
TENTH = QUOTA // 10


def filler(name: str, octets: int, sender: str = "friend@old.lab") -> bytes:
    """A message that can be told from others by its Message-ID."""
    head = f"From: {sender}\r\nMessage-ID: <{name}@old>\r\n\r\n".encode()
    lines = (octets - len(head)) // 80
    return head + (b"x" * 78 + b"\r\n") * lines + b"y" * ((octets - len(head)) % 80)


def names(mailbox: ImapMailbox) -> list[str]:
    """What fillers are there."""
    found = (one.partition(b"<")[2].partition(b"@old>") for one in mailbox.messages())
    return sorted(name.decode() for name, at, _ in found if at)


class Small(ImapMailbox):
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


def signed(lab: Lab, recipient: str, octets: int = 10, sender: str = CAROL) -> bytes:
    message = pgp.encrypted(sender, recipient, pgp.message_id(), secrets.token_urlsafe(octets))
    return signature.sign(message, sender.partition("@")[2], lab.paths)


def said_by(host: LabHost, since: str, identifier: str) -> list[str]:
    entries = host.journal(since=since)
    return [str(one["MESSAGE"]) for one in entries if one.get("SYSLOG_IDENTIFIER") == identifier]


def logged(host: LabHost, since: str) -> bool:
    lines = (str(one.get("MESSAGE")) for one in host.journal(since=since))
    return any("quota exceeded" in line.lower() for line in lines)


def expire(host: LabHost) -> None:
    """A pass from the beginning: a timer may have begun one before."""
    host.run("systemctl restart chatmail-expire.service")


def written_by(mailbox: ImapMailbox, sender: str) -> int:
    """How many messages of a sender are there."""
    return sum(f"\nfrom: <{sender}>".encode() in one.lower() for one in mailbox.messages())


class TestFillingUp:
    def test_from_75_percent_on_the_oldest_read_mail_goes_down_to_70(
        self, lab: Lab, b: LabHost, small: Small
    ) -> None:
        # 70 %: seven days' mail, the oldest laid in last.
        for day in (3, 4, 5, 6, 7, 8, 9):
            small.put(filler(f"day{day}", TENTH), days=day, flags="\\Seen")
        before = b.cursor()
        assert smtp.deliver(b.ip, CAROL, [small.login[0]], signed(lab, small.login[0], 60_000)).code == 250
        until("it is trimmed", lambda: said_by(b, before, "chatmail-trim"), 15)
        # And about 8 %: one is enough, and it is the one that came first.
        until("day 9 is gone", lambda: len(names(small)) == 6, 5)
        assert names(small) == [f"day{day}" for day in (3, 4, 5, 6, 7, 8)]
        # What has made it necessary may show after that.
        until("the new one is there", lambda: len(small.messages()) == 7, 5)
        line = said_by(b, before, "chatmail-trim")[0]
        assert line == "event=trimmed messages=1 octets=102400"

    def test_senders_within_their_shares_lose_nothing_unread_and_nothing_of_the_last_day(
        self, b: LabHost, small: Small
    ) -> None:
        for number in range(14):
            small.put(filler(f"old{number}", TENTH // 2, f"f@{number}.lab"), days=9)
        before = b.cursor()
        small.put(filler("new", 60_000, "f@new.lab"), days=0.9, flags="\\Seen")
        until("it was tried", lambda: said_by(b, before, "chatmail-trim"), 15)
        assert said_by(b, before, "chatmail-trim")[0] == "event=trimmed messages=0 octets=0"
        assert len(names(small)) == 15
        # A pass comes to the same end.
        expire(b)
        assert len(names(small)) == 15

    def test_messages_that_cannot_be_read_keep_nothing_in_the_mailbox(
        self, lab: Lab, b: LabHost, small: Small
    ) -> None:
        for day in (3, 4, 5, 6, 7, 8, 9):
            small.put(filler(f"day{day}", TENTH), days=day, flags="\\Seen")
        name, _, domain = small.login[0].partition("@")
        maildir = f"/var/vmail/{domain}/{name}/Maildir"
        # The one that has to go, and one that may stay. What Dovecot remembers of the headers is taken, too.
        broken = b.run(f"grep -rlE '<day[95]@old>' {maildir}/cur {maildir}/new").stdout.split()
        assert len(broken) == 2
        b.run(["chmod", "0", *broken])
        b.run(f"find /var/vmail/{domain}/{name} -name dovecot.index.cache -delete")
        before = b.cursor()
        assert smtp.deliver(b.ip, CAROL, [small.login[0]], signed(lab, small.login[0], 60_000)).code == 250
        until("it is trimmed", lambda: said_by(b, before, "chatmail-trim"), 15)
        line = said_by(b, before, "chatmail-trim")[0]
        assert line == "event=trimmed messages=1 octets=102400 unreadable=2"
        left = b.run(f"find {maildir}/cur {maildir}/new -type f -perm 0", check=False).stdout.split()
        assert len(left) == 1
        b.run(["chmod", "600", *left])
        assert names(small) == [f"day{day}" for day in (3, 4, 5, 6, 7, 8)]

    @pytest.mark.parametrize("friends", [2, 6])
    def test_a_stranger_who_floods_costs_friends_nothing_and_they_still_get_through(
        self, lab: Lab, b: LabHost, small: Small, reader: Login, friends: int
    ) -> None:
        address, friend, stranger = small.login[0], "friend@peer.lab", "x@other.lab"
        for day in range(friends):
            small.put(filler(f"day{day}", TENTH, friend), days=day)
        flood = [signed(lab, address, 50_000, stranger) for _ in range(20)]
        messages = [signed(lab, address, 1000, friend) for _ in range(3)]

        def room() -> bool:
            # From 75 % on it is made: by itself, after a moment that is longer on a busy machine.
            used = relay.ctl(b, "account", "quota", address)["used"]
            return not relay.queued(b, address) and used < QUOTA * 0.8

        for number, one in enumerate(flood):
            # Of what comes faster than it is removed, some is refused: to the stranger.
            smtp.deliver(b.ip, stranger, [address], one)
            if number % 8 == 7:
                until("room is made", room, 30)
                assert smtp.deliver(b.ip, friend, [address], messages.pop()).code == 250
        until("room is made", room, 30)
        assert smtp.deliver(b.ip, friend, [address], messages.pop()).code == 250
        assert (
            smtp.submit(b.ip, reader, [address], pgp.encrypted(reader[0], address, pgp.message_id())).code
            == 250
        )
        until("the friend's messages are there", lambda: written_by(small, friend) == 3, 15)
        until("a user's mail is there", lambda: written_by(small, reader[0]) == 1, 15)
        assert names(small) == [f"day{day}" for day in range(friends)]

    def test_a_pass_empties_what_could_not_go_in_time(self, b: LabHost, small: Small) -> None:
        login = small.login
        relay.operate(b, "account", "quota", login[0], "default")
        with ImapMailbox(b.ip, *login) as roomy:
            for day in range(2, 12):
                roomy.put(filler(f"day{day:02}", TENTH), days=day, flags="\\Seen")
        relay.operate(b, "account", "quota", login[0], f"{QUOTA}B")
        expire(b)
        # Of ten tenths seven are left.
        assert names(small) == [f"day{day:02}" for day in range(2, 9)]


class TestFull:
    @pytest.fixture(autouse=True)
    def _fill(self, b: LabHost, small: Small) -> None:
        # While there is room: then nothing has to go, and the next pass may be an hour away.
        relay.operate(b, "account", "quota", small.login[0], "default")
        with ImapMailbox(b.ip, *small.login) as roomy:
            roomy.put(filler("all", QUOTA), days=0.5)
        relay.operate(b, "account", "quota", small.login[0], f"{QUOTA}B")

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
        with ImapMailbox(host.ip, *login) as sender:
            mid = pgp.message_id()
            message = pgp.encrypted(login[0], small.login[0], mid)
            before = b.cursor()
            assert smtp.submit(host.ip, login, [small.login[0], reader[0]], message).code == 250
            until("the bounce", sender.messages, 20)
            (bounce,) = sender.messages()
        with ImapMailbox(b.ip, *reader) as other:
            until("the other recipient has it", lambda: other.find(mid), 20)
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

    def test_dovecot_counts_anew_where_no_file_says_how_full_a_mailbox_is(
        self, lab: Lab, b: LabHost, small: Small
    ) -> None:
        name, _, domain = small.login[0].partition("@")
        # As in a mailbox of a release that counted in the indexes.
        b.run(["rm", f"/var/vmail/{domain}/{name}/Maildir/maildirsize"])
        assert abs(relay.ctl(b, "account", "quota", small.login[0])["used"] - QUOTA) < 3000
        assert smtp.deliver(b.ip, CAROL, [small.login[0]], signed(lab, small.login[0])).line.startswith(FULL)
