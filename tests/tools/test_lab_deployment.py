"""The lab's inventory for Ansible, and its reading of Ansible's output."""

import json
from pathlib import Path

from tests.lab import base, inventory
from tests.lab.deployment import PlaybookTask, recap, steps
from tests.lab.plan import REPOSITORY, Paths

OUTPUT = """\

PLAY [A chatmail relay] ********************************************************

TASK [unbound : Configure unbound] *********************************************
changed: [_b.lab]
ok: [_a.lab]

TASK [unbound : Start unbound] *************************************************
ok: [_a.lab]
fatal: [_b.lab]: FAILED! =>
    msg: no such unit

RUNNING HANDLER [unbound : Restart unbound] ************************************
changed: [_a.lab] => (item=one)
changed: [_a.lab] => (item=two)

PLAY RECAP *********************************************************************
_a.lab                     : ok=3    changed=1    unreachable=0    failed=0    skipped=2    rescued=0
_b.lab                     : ok=1    changed=1    unreachable=0    failed=1    skipped=0    rescued=0
"""
PATHS = Paths(cache=Path("/c"), state=Path("/s"), run=Path("/r"))


def test_each_task_is_told_once_with_whom_it_changed() -> None:
    assert list(steps(OUTPUT.splitlines())) == [
        PlaybookTask("unbound : Configure unbound", ("_b.lab",), ()),
        PlaybookTask("unbound : Start unbound", (), ("_b.lab",)),
        PlaybookTask("unbound : Restart unbound", ("_a.lab",), ()),
    ]


def test_a_task_reads_as_one_line() -> None:
    assert str(PlaybookTask("x : Do it", (), ())) == "x : Do it"
    assert str(PlaybookTask("x : Do it", ("a", "b"), ("c",))) == "x : Do it: changed a, b; FAILED on c"


def test_the_recap_is_counted_per_host() -> None:
    counts = recap(OUTPUT)
    assert counts.hosts["_a.lab"]["ok"] == 3
    assert counts.hosts["_b.lab"]["failed"] == 1
    assert counts.changed == 2


def test_the_inventory_says_what_an_operator_would() -> None:
    comment, _, body = inventory.inventory(PATHS).partition("\n")
    assert comment.startswith("#")
    group = json.loads(body)["relays"]
    assert group["hosts"]["_a.lab"] == {
        "ansible_host": "10.77.0.11",
        "chatmail_domain": "_a.lab",
        "chatmail_dns_records_file": "/s/records/_a.lab.zone",
        "dns_records_ipv4": "10.77.0.11",
        "chatmail_mta_sts": True,
        "chatmail_admin_passwords": {role: hashed for role, (_, hashed) in inventory.ADMIN.items()},
        "chatmail_admin_networks": ["10.77.0.0/25"],
        "chatmail_metrics_reader": "nobody",
        "chatmail_webimap": True,
    }
    assert group["hosts"]["_b.lab"]["chatmail_metrics_reader"] == ""
    assert group["vars"]["chatmail_allow_networks"] == ["10.77.0.0/24", "2001:db8:77::/64"]
    assert group["vars"]["chatmail_dns_forwarders"] == ["10.77.0.2"]


def test_the_inventory_group_is_the_playbooks() -> None:
    playbook = (REPOSITORY / "ansible/site.yml").read_text(encoding="utf-8")
    assert f"hosts: {inventory.GROUP}\n" in playbook


def test_the_base_has_every_package_that_the_roles_install() -> None:
    """Read without a YAML parser: lists under a name that ends in `_packages:`."""
    wanted = set()
    for kind in ("vars", "defaults"):
        for file in (REPOSITORY / "ansible/roles").glob(f"*/{kind}/main.yml"):
            in_list = False
            for line in file.read_text(encoding="utf-8").splitlines():
                if line[:1] not in (" ", "-", "#", ""):
                    in_list = line.endswith("_packages:")
                elif in_list and line.strip().startswith("- "):
                    wanted.add(line.strip()[2:])
    assert wanted
    there = base.package_list(base.PACKAGES.read_text(encoding="utf-8"))
    assert wanted - set(there) == set()
