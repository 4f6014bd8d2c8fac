"""`chatmailctl peers` and `peers show`: figures of all peers, and all that the store has about one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatmail_milter.store.contacts import Contact, Road
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peer_trouble import Breakers
from chatmail_milter.store.peers import Peers
from chatmail_milter.store.routes import Route, Routes
from tests.unit.chatmailctl import rows, run
from tests.unit.ctl.test_queue import message, write

pytestmark = pytest.mark.usefixtures("store")
NOW = datetime.now(UTC)


def took(seconds: float, domain: str = "b.test", road: Road = "https", at: datetime = NOW) -> Contact:
    return Contact(domain, road, True, seconds, None, at)


def failed(reason: str, domain: str = "b.test", words: str = "", at: datetime = NOW) -> Contact:
    return Contact(domain, "https", False, None, reason, at, words=words)


class TestAll:
    def test_table_and_json(self, store: str) -> None:
        Peers(open_store(store)).add([took(0.0123), failed("connect")])
        (row,) = rows("peers")
        assert (row["domain"], row["road"], row["attempts"], row["successes"]) == ("b.test", "https", 2, 1)
        assert row["mean_latency"] == pytest.approx(0.0123)
        assert row["p50_latency"] == row["p95_latency"] == pytest.approx(0.0123, rel=0.091)
        assert datetime.fromisoformat(row["last_contact"]) == NOW.replace(microsecond=0)
        table = run("peers").output
        assert "12 ms" in table
        assert "connect 1" in table

    def test_a_time_by_itself_has_its_rate_and_share(self, store: str) -> None:
        earlier = NOW - timedelta(days=3)
        peers = Peers(open_store(store))
        peers.add([*[took(0.01)] * 3, failed("connect"), *[failed("tls", at=earlier)] * 8])
        (row,) = rows("peers")
        assert (row["attempts"], row["recent"]["attempts"], row["recent"]["share"]) == (12, 4, 0.75)
        (row,) = rows("peers", "--since", "7d")
        assert (row["recent"]["attempts"], row["recent"]["successes"]) == (12, 3)
        # Four in a day, of which three went well; twelve in all, of which three did.
        said = run("peers").output
        assert re.search(r"b\.test +https +4 +0\.2 +75 % +12 +25 %", said)
        assert run("peers", "--since", "soon").exit_code == 2

    def test_none_yet(self) -> None:
        assert rows("peers") == []
        assert run("peers").output == "No peer has been contacted yet.\n"

    @pytest.mark.parametrize(
        ("order", "first"),
        [
            ("domain", "a.test"),
            ("attempts", "b.test"),
            ("successes", "c.test"),
            ("failures", "b.test"),
            ("mean", "d.test"),
            ("p50", "d.test"),
            ("p95", "c.test"),
            ("last-contact", "a.test"),
        ],
    )
    def test_the_most_of_what_is_asked_for_comes_first(self, store: str, order: str, first: str) -> None:
        peers = Peers(open_store(store))
        earlier = NOW - timedelta(hours=1)
        peers.add([failed("connect", "a.test"), *[failed("connect", at=earlier)] * 5])
        peers.add([*[took(0.1, "c.test", at=earlier)] * 4, took(0.9, "c.test", at=earlier)])
        peers.add([took(0.5, "d.test", at=earlier)])
        assert rows("peers", "--sort", order)[0]["domain"] == first

    @pytest.mark.parametrize(
        "words", [["--sort", "size"], ["--sort"], ["--json", "show", "b.test"], ["b.test"]]
    )
    def test_bad_input(self, words: list[str]) -> None:
        assert run("peers", *words).exit_code == 2


class TestOne:
    def test_everything_that_is_known(self, store: str, postqueue: Path) -> None:
        engine, now = open_store(store), datetime.now(UTC)
        Peers(engine).add([took(0.02), took(0.01, road="inbound"), took(9.9, "c.test")])
        Peers(engine).add([failed("tls", words="certificate has expired", at=now)])
        endpoints = Endpoints(engine)
        endpoints.worked("b.test", "mx.b.test", now - timedelta(hours=2), None)
        endpoints.failed("b.test", "tls", now, endpoints.get("b.test"))
        Breakers(engine).report("here", {"b.test": now + timedelta(seconds=30)})
        Routes(engine).set(Route("b.test", "192.0.2.1", "only", verify=False, one_per_recipient=True))
        write(
            postqueue, message("A", "x@b.test"), message("B", "x@c.test"), message("C", "y@B.test", age=7200)
        )
        found = rows("peers", "show", "B.test")
        assert [(one["road"], one["attempts"]) for one in found["roads"]] == [("https", 2), ("inbound", 1)]
        assert found["roads"][0]["reasons"] == {"tls": 1}
        assert (found["endpoint"]["host"], found["endpoint"]["failures"]) == ("mx.b.test", 1)
        assert (found["route"]["target"], found["route"]["https"]) == ("192.0.2.1", "only")
        mark = datetime.fromisoformat(found["no_https_until"]) - now
        assert timedelta(seconds=58) < mark <= timedelta(seconds=60)
        assert datetime.fromisoformat(found["breaker_open_until"]) > now
        assert (found["queue"]["messages"], found["queue"]["size"]) == (2, 2468)
        assert found["errors"] == [
            {
                "road": "https",
                "at": now.isoformat(timespec="seconds"),
                "reason": "tls",
                "words": "certificate has expired",
            }
        ]
        shown = run("peers", "show", "b.test").output
        for text in (
            "mx.b.test took it 2 h ago; failures since: 1, last tls; not tried until",
            "open until",
            "192.0.2.1, HTTPS only, not verified, one POST per recipient",
            "messages: 2, 2468 B, the oldest since 2 h ago",
            "certificate has expired",
        ):
            assert text in shown
        assert "c.test" not in shown

    def test_marks_and_breakers_that_ran_out_are_none(self, store: str, postqueue: Path) -> None:
        engine, past = open_store(store), datetime.now(UTC) - timedelta(minutes=2)
        Endpoints(engine).failed("b.test", "connect", past, None)
        Breakers(engine).report("here", {"b.test": past})
        found = rows("peers", "show", "b.test")
        assert (found["no_https_until"], found["breaker_open_until"], found["route"]) == (None, None, None)
        shown = run("peers", "show", "b.test").output
        assert "closed" in shown
        assert "by DNS" in shown
        assert "No mail was exchanged yet." in shown

    def test_a_host_without_postfix_has_no_queue(self, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("chatmail_milter.ctl.postqueue.shutil.which", lambda _name: None)
        Peers(open_store(store)).add([took(0.02)])
        assert rows("peers", "show", "b.test")["queue"] is None
        assert "not on this host" in run("peers", "show", "b.test").output

    def test_words_do_nothing_to_the_terminal(self, store: str, postqueue: Path) -> None:
        Peers(open_store(store)).add(
            [failed("refused-550", words="550 \x1b[31mred\x1b]0;title\x07 \u202eback")]
        )
        shown = run("peers", "show", "b.test").output
        assert "550 [31mred ]0;title back" in shown
        assert "\x1b" not in shown

    def test_what_nobody_vouched_for(self, store: str, postqueue: Path) -> None:
        refused = Contact("x.test", "inbound", False, None, "dkim-none", NOW, claimed=True)
        Peers(open_store(store)).add([refused])
        assert rows("peers", "show", "(unproven)")["roads"][0]["reasons"] == {"dkim-none": 1}

    def test_a_stranger(self, postqueue: Path) -> None:
        result = run("peers", "show", "nobody.test")
        assert result.exit_code == 1
        assert result.output == "Error: see `chatmailctl peers`: nothing is known of nobody.test\n"

    @pytest.mark.parametrize("words", [[], ["b..test"], ["x@b.test"], ["b.test", "c.test"], ["\x1b[2J"]])
    def test_bad_input(self, words: list[str]) -> None:
        result = run("peers", "show", *words)
        assert result.exit_code == 2
        assert "\x1b" not in result.output
