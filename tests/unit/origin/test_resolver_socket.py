"""The milter's resolver sends DNS queries to a Unix socket."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from chatmail_milter.origin.resolver import Deadline, LookupFailedError, MilterResolver, NoNameError
from tests.stub_resolver import ANOTHER, GARBAGE, HANG_UP, SERVFAIL, StubResolver, running

RECORDS = {
    ("k._domainkey.b.example.", "TXT"): ['"v=DKIM1; " "p=AB"'],
    ("two._domainkey.b.example.", "TXT"): ['"p=1"', '"p=2"'],
    ("alias._domainkey.b.example.", "TXT"): ["CNAME k._domainkey.b.example."],
    ("b.example.", "MX"): ["20 mx2.b.example.", "10 mx1.b.example."],
    ("null.example.", "MX"): ["0 ."],
    ("b.example.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("b.example.", "AAAA"): ["2001:db8::1"],
    ("broken.example.", "TXT"): SERVFAIL,
    ("hangs.example.", "TXT"): HANG_UP,
    ("garbage.example.", "TXT"): GARBAGE,
    ("another.example.", "TXT"): ANOTHER,
}


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[StubResolver]:
    with running(tmp_path / "dns", RECORDS) as stub:
        yield stub


@pytest.fixture
def resolver(stub: StubResolver) -> MilterResolver:
    return MilterResolver(stub.path)


def test_texts(resolver: MilterResolver) -> None:
    assert resolver.texts("k._domainkey.b.example.", Deadline()) == [b"v=DKIM1; p=AB"]
    assert sorted(resolver.texts("two._domainkey.b.example.", Deadline())) == [b"p=1", b"p=2"]


def test_an_alias_is_followed(resolver: MilterResolver) -> None:
    assert resolver.texts("alias._domainkey.b.example.", Deadline()) == [b"v=DKIM1; p=AB"]


def test_what_is_not_there_is_nothing(resolver: MilterResolver) -> None:
    assert resolver.texts("no.example.", Deadline()) == []
    assert resolver.texts("b.example.", Deadline()) == []
    assert resolver.mail_hosts("no.example.", Deadline()) == []
    assert resolver.addresses("no.example.", 4, Deadline()) == []


def test_mail_hosts_by_preference(resolver: MilterResolver) -> None:
    assert resolver.mail_hosts("b.example.", Deadline()) == ["mx1.b.example.", "mx2.b.example."]
    assert resolver.mail_hosts("null.example.", Deadline()) == []


def test_addresses(resolver: MilterResolver) -> None:
    four = [ip_address("192.0.2.1"), ip_address("192.0.2.2")]
    assert sorted(resolver.addresses("b.example.", 4, Deadline()), key=str) == four
    assert resolver.addresses("b.example.", 6, Deadline()) == [ip_address("2001:db8::1")]


@pytest.mark.parametrize("name", ["broken", "hangs", "garbage", "another"])
def test_no_answer_is_trouble(resolver: MilterResolver, name: str) -> None:
    with pytest.raises(LookupFailedError):
        resolver.texts(f"{name}.example.", Deadline())


def test_a_resolver_that_is_away_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(LookupFailedError):
        MilterResolver(str(tmp_path / "nothing")).texts("b.example.", Deadline())


def test_when_the_time_is_over_nothing_is_asked(resolver: MilterResolver, stub: StubResolver) -> None:
    with pytest.raises(LookupFailedError):
        resolver.texts("b.example.", Deadline(0))
    assert stub.asked == []


@pytest.mark.parametrize("name", ["a..b.", "x" * 64 + ".example.", "y." * 200, ".."])
def test_what_can_not_be_a_name_is_not_asked(resolver: MilterResolver, stub: StubResolver, name: str) -> None:
    with pytest.raises(NoNameError):
        resolver.texts(name, Deadline())
    assert stub.asked == []
