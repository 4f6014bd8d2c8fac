"""docs/dns.md has each record that the playbook prints."""

from __future__ import annotations

import re

from tests.lab.plan import REPOSITORY

PAGE = (REPOSITORY / "docs/dns.md").read_text("utf-8")
ZONE = (REPOSITORY / "ansible/roles/dns_records/templates/records.zone.j2").read_text("utf-8")
# A record of the zone: its type, and for TXT its first word and its last label.
RECORDS = re.findall(r"dns_records_ttl }} IN (\w+)(?: \"(v=\w+))?", ZONE)


def test_each_record_is_explained() -> None:
    rows = [row for row in PAGE.splitlines() if row.startswith("| ")][2:]
    explained = {
        (kind, word) for row in rows for kind, word in re.findall(r"(AAAA|A|MX|TXT)(?: `(v=\w+))?", row)
    }
    assert {one for one in RECORDS if one != ("TXT", "")} <= explained
    assert ("TXT", "v=DKIM1") in explained
    assert {kind for kind, _ in RECORDS} == {"A", "AAAA", "MX", "TXT"}
