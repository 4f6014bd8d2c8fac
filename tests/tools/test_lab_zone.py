"""The zone that the lab serves."""

import dns.name
import dns.rdatatype
import dns.zone
import pytest

from tests.lab.errors import LabError
from tests.lab.zone import ROOT_ZONE, lab_zone

DKIM = 'chatmail._domainkey._a.lab. TXT "v=DKIM1; k=rsa; " "p=MIIB"\n'


def served(serial: int = 7, **published: str) -> dns.zone.Zone:
    return dns.zone.from_text(lab_zone(serial, published), origin="lab.", relativize=False)


def values(zone: dns.zone.Zone, name: str, kind: str) -> list[str]:
    rdataset = zone.get_rdataset(dns.name.from_text(name), dns.rdatatype.from_text(kind))
    return sorted(record.to_text() for record in rdataset or ())


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("_a.lab.", "A", "10.77.0.11"),
        ("_b.lab.", "A", "10.77.0.12"),
        ("mta.lab.", "A", "10.77.0.21"),
        ("_a.lab.", "MX", "10 _a.lab."),
        ("_b.lab.", "MX", "10 _b.lab."),
        ("mta.lab.", "MX", "10 mta.lab."),
        ("loopback.lab.", "A", "127.0.0.1"),
        ("private.lab.", "A", "192.168.77.7"),
        ("nullmx.lab.", "MX", "0 ."),
        ("dead.lab.", "A", "10.77.0.99"),
        ("peer.lab.", "A", "10.77.0.31"),
        ("peer.lab.", "MX", "10 peer.lab."),
        ("kept.lab.", "MX", "10 mx.kept.lab."),
        ("_mta-sts.moved.lab.", "TXT", '"v=STSv1; id=1;"'),
    ],
)
def test_the_zone_has_the_hosts_and_the_traps(name: str, kind: str, value: str) -> None:
    assert values(served(), name, kind) == [value]


def test_what_the_playbook_wrote_is_published() -> None:
    zone = served(a=DKIM)
    assert values(zone, "chatmail._domainkey._a.lab.", "TXT") == ['"v=DKIM1; k=rsa; " "p=MIIB"']


def test_a_record_that_the_lab_has_already_is_there_once() -> None:
    assert values(served(a="_a.lab. 300 MX 10 _a.lab.\n"), "_a.lab.", "MX") == ["10 _a.lab."]


def test_a_relay_is_at_the_address_that_the_playbook_wrote() -> None:
    assert values(served(a="_a.lab. 300 A 10.77.0.61\n"), "_a.lab.", "A") == ["10.77.0.61"]


def test_the_serial_is_the_one_given() -> None:
    assert values(served(serial=4711), "lab.", "SOA")[0].split()[2] == "4711"


def test_a_broken_records_file_is_named() -> None:
    with pytest.raises(LabError, match=r"^correct /x/_a\.lab\.zone: "):
        lab_zone(1, {"/x/_a.lab.zone": "_a.lab. MX mail\n"})


def test_the_root_is_empty_so_that_all_else_does_not_exist() -> None:
    zone = dns.zone.from_text(ROOT_ZONE, origin=".", relativize=False)
    assert list(zone.nodes) == [dns.name.root]
