"""`doctor` asks the zone's own name servers, so that it sees a change before caches do."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from dns.exception import Timeout
from dns.name import Name
from dns.rdata import from_text as record
from dns.rdataclass import IN
from dns.rdatatype import NS as NS_RECORD
from dns.rdatatype import A
from dns.rrset import from_text as rrset

from chatmail_milter.doctor import network, records

WANTED = rrset("chat.a.test.", 60, "IN", "A", "192.0.2.1")
NS, OLD, NEW = "192.0.2.53", "192.0.2.9", "192.0.2.1"


@dataclass
class CachedAnswers:
    """A resolver: with a configuration the host's, which has an old answer, else one of the name servers."""

    configure: bool = True
    nameservers: list[str] = field(default_factory=list)
    silent = False

    def resolve(self, name: object, kind: object, **_options: object) -> list[Any]:
        if self.nameservers:
            assert self.nameservers == [NS]
            if CachedAnswers.silent:
                raise Timeout
            return [record(IN, A, NEW)]
        if kind == NS_RECORD:
            assert str(name) == "a.test."
            return [SimpleNamespace(target="ns.a.test.")]
        return [SimpleNamespace(address=NS) if name == "ns.a.test." else record(IN, A, OLD)]


def zone_for(name: Name, resolver: CachedAnswers, lifetime: float) -> Name:
    assert 0 < lifetime <= 10
    assert resolver.configure
    return name.parent()


@pytest.fixture(autouse=True)
def _dns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "Resolver", CachedAnswers)
    monkeypatch.setattr(network, "zone_for_name", zone_for)
    monkeypatch.setattr(CachedAnswers, "silent", False)


def test_the_answer_is_that_of_the_zones_own_servers() -> None:
    assert records.look_up(WANTED) == {OLD}
    assert records.authoritative(WANTED) == {NEW}


def test_if_they_do_not_answer_it_is_the_resolvers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CachedAnswers, "silent", True)
    assert records.authoritative(WANTED) == {OLD}


def test_of_a_zone_that_is_not_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_name: Name, **_options: object) -> Name:
        raise Timeout

    monkeypatch.setattr(network, "zone_for_name", none)
    assert records.authoritative(WANTED) == {OLD}
