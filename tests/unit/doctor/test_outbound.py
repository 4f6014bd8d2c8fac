"""`chatmailctl doctor --only outbound`: whether others' ports 443 and 25 can be reached."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatmail_milter.config import load_or_exit
from chatmail_milter.ctl import doctor as command
from chatmail_milter.ctl.main import main
from chatmail_milter.doctor import Finding, FindingState, outbound
from chatmail_milter.doctor.network import NoAddressError
from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers
from tests.unit.doctor.found import states

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def mx(domain: str, port: int) -> str | None:
    return domain if port == 443 else f"mx.{domain}"


class Internet:
    """Hosts that are reached; the others hang, and those in `unnamed` have no address."""

    def __init__(self, *reached: tuple[str, int], unnamed: tuple[str, ...] = ()) -> None:
        self.reached, self.unnamed, self.tried = reached, unnamed, set[tuple[str, int]]()

    def connect(self, host: str, port: int) -> None:
        self.tried.add((host, port))
        if host in self.unnamed:
            raise NoAddressError("no such name")
        if (host, port) not in self.reached:
            raise TimeoutError("timed out")


def test_one_host_that_answers_is_enough() -> None:
    there = Internet(("b.test", 443), ("mx.c.test", 25))
    found = states(outbound.check(["b.test", "c.test"], mx, there.connect))
    assert found == {"TCP 443": FindingState.GOOD, "TCP 25": FindingState.GOOD}


def test_a_blocked_port_is_bad_and_says_who_can_open_it() -> None:
    there = Internet(("b.test", 443))
    https, smtp = outbound.check(["b.test", "c.test"], mx, there.connect)
    assert (https.state, smtp.state) == (FindingState.GOOD, FindingState.BAD)
    assert smtp.found == "no host can be reached: mx.b.test (timed out), mx.c.test (timed out)"
    assert "provider" in smtp.mend
    assert "port 25" in smtp.mend


def test_without_names_nothing_can_be_said() -> None:
    there = Internet(unnamed=("b.test",))
    found = states(outbound.check(["b.test"], lambda domain, port: mx(domain, port) if port == 443 else None,
                                  there.connect))  # fmt: skip
    assert found == {"TCP 443": FindingState.UNKNOWN, "TCP 25": FindingState.UNKNOWN}


def test_a_relay_without_peers_connects_nowhere_and_says_how_to_name_a_host() -> None:
    there = Internet()
    found = list(outbound.check([], mx, there.connect))
    assert {one.state for one in found} == {FindingState.UNKNOWN}
    assert there.tried == set()
    assert all("chatmailctl doctor --outbound DOMAIN" in one.mend for one in found)


def test_the_operator_names_the_hosts_to_try(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Peers(open_store(store)).add([Contact("peer.test", "smtp", True, 0.1, "", NOW)])
    tried = list[str]()

    def check(domains: Sequence[str]) -> Sequence[Finding]:
        tried.extend(domains)
        return ()

    monkeypatch.setattr(outbound, "check", check)
    words = ["doctor", "--only", "outbound"]
    for named in ([], ["--outbound", "B.test", "--outbound", "[192.0.2.1]"]):
        assert CliRunner().invoke(main, [*words, *named]).exit_code == 0
    assert tried == ["peer.test", "b.test", "[192.0.2.1]"]
    refused = CliRunner().invoke(main, [*words, "--outbound", "https://b.test"])
    assert refused.exit_code == 2
    assert "--outbound" in refused.output


@pytest.mark.parametrize(
    ("domain", "host"), [("[192.0.2.1]", "192.0.2.1"), ("[IPv6:2001:db8::1]", "2001:db8::1")]
)
def test_an_address_literal_is_its_own_host(domain: str, host: str) -> None:
    assert {outbound.host_of(domain, port) for port in (443, 25)} == {host}
    assert outbound.host_of("b.test", 443) == "b.test"


def test_peers_that_took_mail_are_tried_the_last_one_first(store: str) -> None:
    peers = Peers(open_store(store))
    peers.add([
        Contact("old.test", "smtp", True, 0.1, "", NOW - timedelta(days=2)),
        Contact("new.test", "https", True, 0.1, "", NOW),
        Contact("new.test", "smtp", True, 0.1, "", NOW - timedelta(days=3)),
        Contact("dead.test", "https", False, None, "tls", NOW),
        Contact("sender.test", "inbound", True, 0.1, "", NOW),
    ])  # fmt: skip
    assert command._peers(load_or_exit()) == ["new.test", "old.test"]


def test_only_some_of_many_peers_are_tried(store: str) -> None:
    Peers(open_store(store)).add(
        [Contact(f"{number}.test", "smtp", True, 0.1, "", NOW) for number in range(50)]
    )
    assert len(command._peers(load_or_exit())) == 4


def test_a_store_that_can_t_be_used_leaves_no_peers(store: str) -> None:
    Path(store.removeprefix("sqlite:///")).write_bytes(b"no store" * 1000)
    assert command._peers(load_or_exit()) == []
