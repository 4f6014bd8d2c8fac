"""`chatmailctl dns`: records that exist, are missing, differ, or can't be looked up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from dns.zonefile import read_rrsets

from chatmail_milter.ctl import dns
from chatmail_milter.ctl.main import main
from chatmail_milter.doctor import records

ZONE = """\
; DNS records of a.example
a.example. 3600 IN A 192.0.2.1
a.example. 3600 IN MX 10 a.example.
a.example. 3600 IN TXT "v=spf1 a:a.example -all"
chatmail._domainkey.a.example. 3600 IN TXT "v=DKIM1; k=rsa; " "p=abc"
"""
WANTED = {(one.name.to_text(), one.rdtype.name): one for one in read_rrsets(ZONE, rdclass=None)}
SPF = "v=spf1 a:a.example -all"


@pytest.mark.parametrize(
    ("name", "kind", "found", "state"),
    [
        ("a.example.", "A", {"192.0.2.1"}, "right"),
        ("a.example.", "A", set(), "missing"),
        ("a.example.", "A", {"192.0.2.9"}, "different"),
        ("a.example.", "A", {"192.0.2.1", "192.0.2.9"}, "different"),
        ("a.example.", "A", None, "can't say"),
        ("a.example.", "MX", {"10 a.example."}, "right"),
        ("a.example.", "MX", {"10 other.example."}, "different"),
        ("a.example.", "TXT", {SPF, "site-verification=1"}, "right"),
        ("a.example.", "TXT", {"site-verification=1"}, "missing"),
        ("a.example.", "TXT", {"v=spf1 mx ~all"}, "different"),
        ("a.example.", "TXT", {SPF, "v=spf1 mx ~all"}, "different"),
        ("chatmail._domainkey.a.example.", "TXT", {"v=DKIM1; k=rsa; p=abc"}, "right"),
        ("chatmail._domainkey.a.example.", "TXT", {"v=DKIM1; k=rsa; p=old"}, "different"),
    ],
)
def test_each_state(name: str, kind: str, found: set[str] | None, state: str) -> None:
    assert records.compare(WANTED[name, kind], lambda _: found).state == state


@pytest.mark.parametrize(("found", "status"), [("right", 0), (set(), 1), (None, 3)])
def test_the_exit_status_says_whether_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: set[str] | str | None, status: int
) -> None:
    file = tmp_path / "records.zone"
    file.write_text(ZONE, "utf-8")
    texts = {id(one): set(records.compare(one, lambda _: None).wanted) for one in WANTED.values()}
    by_name = {one.name.to_text() + one.rdtype.name: texts[id(one)] for one in WANTED.values()}
    monkeypatch.setattr(
        dns,
        "look_up",
        lambda one: by_name[one.name.to_text() + one.rdtype.name] if found == "right" else found,
    )
    done = CliRunner().invoke(main, ["dns", "--json", "--records", str(file)])
    assert done.exit_code == status
    assert len(json.loads(done.output)) == 4
    said = CliRunner().invoke(main, ["dns", "--records", str(file)]).output
    assert ("Publish the address records first" in said) == (status == 1)


def test_without_the_playbooks_file_it_says_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["dns", "--records", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert done.output.startswith("Error: run the playbook, which writes ")
