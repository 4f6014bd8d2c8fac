"""The operator's figures are true, the orders take effect at once, and the host is in order."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.chat import carol, firewall, journal, pgp, relay, settings, signature, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import LateError, until
from tests.chat.imap import ImapMailbox
from tests.chat.queue_log import of_message, queue_files
from tests.e2e.conftest import Login
from tests.e2e.doors import Door
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS


def counted(host: LabHost, domain: str, road: str) -> tuple[int, int]:
    """Successes and failures."""
    for row in relay.ctl(host, "peers"):
        if (row["domain"], row["road"]) == (domain, road):
            return row["successes"], row["failures"]
    return 0, 0


def deferred(host: LabHost, domain: str) -> list[str]:
    """Queue IDs of what is deferred for a domain."""
    rows = relay.ctl(host, "queue")
    return [row["queue_id"] for row in rows if domain in row["domains"] and row["queue"] == "deferred"]


def waits(host: LabHost, recipient: str) -> bool:
    """Whether all that is for a recipient is deferred, and something is."""
    return {row["queue"] for row in relay.queued(host, recipient)} == {"deferred"}


class TestInbound:
    # A domain that nobody else writes from: a queue of mta.lab may bring more at any time.
    DOMAIN = "news.peer.lab"
    SENDER = f"someone12345@{DOMAIN}"

    def signed(self, lab: Lab, recipient: str) -> bytes:
        return signature.sign(pgp.encrypted(self.SENDER, recipient, pgp.message_id()), self.DOMAIN, lab.paths)

    def test_what_peers_bring_is_counted_alike_by_both_doors(
        self, lab: Lab, b: LabHost, reader: Login, door: Door
    ) -> None:
        relay.count_all(b)
        successes, failures = counted(b, self.DOMAIN, "inbound")
        assert door(b, self.SENDER, [reader[0]], self.signed(lab, reader[0])).startswith("250")
        until("it is counted", lambda: counted(b, self.DOMAIN, "inbound") == (successes + 1, failures), 10)
        # Known by now: what is refused under that name is counted under it.
        unsigned = pgp.encrypted(self.SENDER, reader[0], pgp.message_id())
        assert door(b, self.SENDER, [reader[0]], unsigned).startswith("554")
        assert door(b, self.SENDER, [f"nobody-at-all@{b.domain}"], b"").startswith("550 5.1.1")
        until(
            "so are refusals", lambda: counted(b, self.DOMAIN, "inbound") == (successes + 1, failures + 2), 10
        )
        road = next(r for r in relay.ctl(b, "peers", "show", self.DOMAIN)["roads"] if r["road"] == "inbound")
        assert {"dkim-none", "unknown-user"} <= road["reasons"].keys()
        assert 0 < road["p50_latency"] <= road["p95_latency"] < 30

    def test_names_that_nobody_vouches_for_are_one(self, b: LabHost, door: Door) -> None:
        relay.count_all(b)
        before = {row["domain"] for row in relay.ctl(b, "peers")}
        failures = counted(b, "(unproven)", "inbound")[1]
        for number in range(3):
            # Whose mail is refused for want of proof is named: tests/e2e/test_unsigned.py.
            sender = f"x@{number}.stranger.example"
            assert door(b, sender, [f"nobody-at-all@{b.domain}"], b"").startswith("550 5.1.1")
        until("they are counted", lambda: counted(b, "(unproven)", "inbound")[1] == failures + 3, 10)
        assert {row["domain"] for row in relay.ctl(b, "peers")} <= before | {"(unproven)"}

    def test_a_relay_that_is_killed_misses_nothing(self, lab: Lab, b: LabHost, reader: Login) -> None:
        relay.count_all(b)
        successes = counted(b, self.DOMAIN, "inbound")[0]
        for _ in range(3):
            b.run("systemctl kill --signal=KILL mxdeliv-relay.service")
            assert smtp.deliver(b.ip, self.SENDER, [reader[0]], self.signed(lab, reader[0])).code == 250
        until("all are counted", lambda: counted(b, self.DOMAIN, "inbound")[0] >= successes + 3, 20)
        assert counted(b, self.DOMAIN, "inbound")[0] == successes + 3


class TestQueue:
    @pytest.fixture(autouse=True)
    def _as_before(self, a: LabHost, b: LabHost) -> Iterator[None]:
        relay.forget_endpoints(a)
        yield
        a.run(f"{PROGRAMS}/chatmailctl route remove {b.domain}", check=False)
        relay.forget_endpoints(a)

    def flush(self, host: LabHost, *words: str) -> str:
        return host.run([f"{PROGRAMS}/chatmailctl", "queue", "flush", *words]).stdout

    def test_a_peer_without_smtp_for_a_while(self, a: LabHost, mta: LabHost, writer: Login) -> None:
        relay.count_all(a)
        _, failures = counted(a, "mta.lab", "smtp")
        # It is not tried by itself meanwhile.
        with settings.patient(a):
            with firewall.closed(mta, 25, "refuse"):
                mid = smtp.send(a.ip, writer, CAROL)
                until("it is deferred", lambda: deferred(a, "mta.lab"), 20)
                until("SMTP has failed", lambda: counted(a, "mta.lab", "smtp")[1] > failures, 10)
                peer = relay.ctl(a, "peers", "show", "mta.lab")
            assert peer["queue"]["messages"] >= 1
            error = next(error for error in peer["errors"] if error["road"] == "smtp")
            assert (error["reason"], error["words"]) == (
                "connect",
                f"connect to mta.lab[{mta.ip}]:25: Connection refused",
            )
            assert carol.find(mta, mid) is None
            assert re.match(r"Retrying [1-9]\d* message", self.flush(a, "mta.lab"))
            until("it arrives", partial(carol.find, mta, mid), 15)
            until("nothing waits", lambda: not deferred(a, "mta.lab"), 10)
        assert self.flush(a, "mta.lab") == "Nothing is deferred for mta.lab.\n"

    def test_a_message_is_held_released_and_deleted(self, a: LabHost, mta: LabHost, writer: Login) -> None:
        def waits_in() -> dict[str, str]:
            rows = relay.ctl(a, "queue")
            return {row["queue_id"]: row["queue"] for row in rows if "mta.lab" in row["domains"]}

        with settings.patient(a), firewall.closed(mta, 25, "refuse"):
            before = waits_in()
            mid = smtp.send(a.ip, writer, CAROL)
            message = until("it is deferred", lambda: {*deferred(a, "mta.lab")} - before.keys(), 20).pop()
            assert relay.ctl(a, "queue", "show", message)["recipients"] == [CAROL]
            assert relay.operate(a, "queue", "hold", message) == "Held 1 message.\n"
            assert waits_in()[message] == "hold"
            assert relay.operate(a, "queue", "release", "--domain", "mta.lab") == "Released 1 message.\n"
            until("it waits as before", lambda: waits_in().get(message) == "deferred", 20)
            assert relay.operate(a, "queue", "delete", "--yes", message) == "Deleted 1 message.\n"
            assert message not in waits_in()
        assert carol.find(mta, mid) is None

    @pytest.mark.parametrize("https", ["prefer", "only"])
    def test_a_peer_that_was_off(
        self, a: LabHost, b: LabHost, writer: Login, reader: Login, https: str
    ) -> None:
        a.run([f"{PROGRAMS}/chatmailctl", "route", "set", b.domain, "--https", https])
        with firewall.closed(b, 443, "refuse"), firewall.closed(b, 25, "refuse"):
            mid = smtp.send(a.ip, writer, reader[0])
            # Not anybody's: another may wait while this one is still under way.
            until("it is deferred", lambda: waits(a, reader[0]), 20)
        self.flush(a, b.domain)
        with ImapMailbox(b.ip, *reader) as mailbox:
            until("it arrives", lambda: mailbox.find(mid), 15)

    def test_a_route_changes_the_next_message(
        self, a: LabHost, b: LabHost, writer: Login, reader: Login
    ) -> None:
        def routed(https: str, door: str) -> None:
            began = time.time()
            a.run([f"{PROGRAMS}/chatmailctl", "route", "set", b.domain, "--https", https])
            mid = smtp.send(a.ip, writer, reader[0])

            def came() -> bool:
                files = queue_files(journal.read(b, began - 0.5))
                return of_message(files, mid, door) is not None

            until(f"it comes by {door}", came, 10)

        routed("never", "smtp")
        routed("only", "mxdeliv")

    @pytest.mark.parametrize(
        "words",
        [
            "queue flush b..lab",
            "peers show x@y",
            "route set _b.lab http://x",
            "endpoints forget",
            "peers --sort x",
        ],
    )
    def test_bad_input(self, a: LabHost, words: str) -> None:
        done = a.run(f"{PROGRAMS}/chatmailctl {words}", check=False)
        assert done.returncode == 2
        assert "Error: " in done.stderr


def test_all_our_programs_can_be_restarted_at_once(b: LabHost) -> None:
    # More than once: whether a port that was just closed can be opened is a matter of milliseconds.
    for _ in range(3):
        b.run("systemctl restart chatmail.target")
        assert relay.failed_units(b) == ""


def test_no_unit_has_failed(a: LabHost, b: LabHost) -> None:
    # One that a timer starts each minute may have failed once, for what a test took away.
    for host in (a, b):
        with contextlib.suppress(LateError):
            until("no unit has failed", lambda host=host: not relay.failed_units(host), 30, every=1)  # type: ignore[misc]
        assert relay.failed_units(host) == ""


def test_nothing_for_either_relay_stays_in_a_queue(a: LabHost, b: LabHost) -> None:
    left: list[str] = []

    def none_is_left() -> bool:
        # What tests before this one made wait is due in minutes: what is asked is whether it goes when tried.
        for host in (a, b):
            relay.operate(host, "queue", "flush")
        rows = [row for host in (a, b) for row in relay.ctl(host, "queue")]
        left[:] = [f"{row}" for row in rows if {a.domain, b.domain} & set(row["domains"])]
        return not left

    with contextlib.suppress(LateError):
        until("both queues are empty", none_is_left, 20, every=3)
    assert left == []


def test_dns_records_are_looked_up(a: LabHost) -> None:
    rows = relay.ctl(a, "dns")
    assert {"MX", "TXT"} <= {row["type"] for row in rows}
    assert {row["state"] for row in rows} == {"right"}
    wanted = "/root/wanted.zone"
    a.run(f"(cat /etc/chatmail/records.zone; echo 'not-there.lab. 60 IN A 192.0.2.1') > {wanted}")
    done = a.run(f"{PROGRAMS}/chatmailctl dns --records {wanted}", check=False)
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("missing")] == [
        "not-there.lab"
    ]
