"""What the operator relies on: the playbook changes nothing twice, and the host is in order."""

from __future__ import annotations

from tests.chat import relay
from tests.lab import Lab
from tests.lab.host import LabHost


def test_no_unit_has_failed(a: LabHost, b: LabHost) -> None:
    for host in (a, b):
        assert relay.failed_units(host) == ""


def test_queue_is_empty_when_all_is_delivered(a: LabHost, b: LabHost) -> None:
    for host in (a, b):
        rows = [row for row in relay.ctl(host, "queue") if "_b.lab" in str(row) or "_a.lab" in str(row)]
        assert [row for row in rows if row["queue"] == "hold"] == []


def test_second_run_of_the_playbook_changes_nothing(lab: Lab) -> None:
    recap = lab.deploy()
    assert len(recap.hosts) == 2
    assert {host: counts["changed"] for host, counts in recap.hosts.items()} == dict.fromkeys(recap.hosts, 0)
