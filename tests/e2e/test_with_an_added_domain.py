"""A chat domain that was added to another mail host talks with a relay. Of that host alone: own_hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chat import relay
from tests.chat.stage import Stage
from tests.e2e.own_hosts.beside import CHAT, SECONDS, ByHand, ByPlaybook
from tests.lab import Lab, old
from tests.lab.host import LabHost

# All but port 443, which has no part in it.
PARTS = ("Install", "a", "b", "c", "d")


@pytest.fixture(scope="module", params=[ByHand, ByPlaybook])
def host(lab: Lab, request: pytest.FixtureRequest) -> Iterator[LabHost]:
    with old.up(lab.paths) as host:
        request.param(lab, host).add(*PARTS)
        yield host


def test_delta_chat_talks_to_a_relay_both_ways_by_https(host: LabHost, a: LabHost, stage: Stage) -> None:
    # What was on its way to the domain's host before this one found none.
    relay.forget_endpoints(a)
    roads = ((host, a.domain, host.cursor()), (a, CHAT, a.cursor()))
    here, there = stage.newcomer(CHAT), stage.newcomer(a.domain)
    stage.acquaint(there, here)
    for sender, receiver in ((here, there), (there, here)):
        stage.say(sender, receiver, SECONDS)
    for at, domain, began in roads:
        lines = [str(one["MESSAGE"]) for one in at.journal("-u", "mxdeliv-relay", since=began)]
        sent = [line for line in lines if f"event=delivery domain={domain} " in line]
        assert sent
        assert [line for line in sent if " road=https " not in line] == []
