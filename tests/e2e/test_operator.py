"""What the operator relies on: the playbook changes nothing twice, and the host is in order."""

from __future__ import annotations

from tests.chat import relay
from tests.chat.deadline import until
from tests.lab import Lab
from tests.lab.host import LabHost


def test_no_unit_has_failed(a: LabHost, b: LabHost) -> None:
    for host in (a, b):
        assert relay.failed_units(host) == ""


def test_nothing_for_either_relay_is_left_in_a_queue(a: LabHost, b: LabHost) -> None:
    def left() -> list[object]:
        rows = [row for host in (a, b) for row in relay.ctl(host, "queue")]
        return [row for row in rows if a.domain in str(row) or b.domain in str(row)]

    until("both queues are empty", lambda: not left(), 20, every=0.5)


def test_second_run_of_the_playbook_changes_nothing(lab: Lab) -> None:
    recap = lab.deploy()
    assert len(recap.hosts) == 2
    assert {host: counts["changed"] for host, counts in recap.hosts.items()} == dict.fromkeys(recap.hosts, 0)
