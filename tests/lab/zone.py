"""The zone `lab.` as text, from the lab's plan and the records that the playbook wants published. Pure.

Traps are in it: names that a relay must never connect to, whatever DNS says.
"""

from __future__ import annotations

from collections.abc import Mapping

import dns.exception
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.zone

from tests.lab.errors import LabError
from tests.lab.plan import HOSTS, ZONE

UNUSED_ADDRESS = "10.77.0.99"

TRAPS = f"""\
loopback  A   127.0.0.1
private   A   192.168.77.7
nullmx    MX  0 .
dead      A   {UNUSED_ADDRESS}
"""

# Everything else does not exist: an empty root says NXDOMAIN at once where silence would cost a time-out.
ROOT_ZONE = f"""\
$TTL 60
.  SOA  dns.{ZONE} root.{ZONE} 1 60 60 60 60
.  NS   dns.{ZONE}
"""


def lab_zone(serial: int, published: Mapping[str, str]) -> str:
    """The whole zone. `published`: the file each record text came from, for errors, and the text."""
    # The last number: for how long a resolver remembers that a name isn't there, as before it's published.
    lines = [f"$TTL 60\n@  SOA  dns root {serial} 60 60 60 1\n@  NS  dns\n"]
    for host in HOSTS:
        lines.append(f"{host.domain}.  A  {host.ip}\n")
        if host.relay or host.name == "mta":
            lines.append(f"{host.domain}.  MX  10 {host.domain}.\n")
    zone = parse("the lab's own records", "".join(lines) + TRAPS)
    for source, text in published.items():
        extra = parse(source, text)
        for name, rdataset in extra.iterate_rdatasets():
            if rdataset.rdtype != dns.rdatatype.SOA:
                known = zone.find_rdataset(name, rdataset.rdtype, create=True)
                for record in rdataset:
                    known.add(record, rdataset.ttl)
    return str(zone.to_text(relativize=False))


def parse(source: str, text: str) -> dns.zone.Zone:
    try:
        return dns.zone.from_text(
            f"$TTL 60\n{text}", origin=ZONE, relativize=False, check_origin=False, rdclass=dns.rdataclass.IN
        )
    except (dns.exception.DNSException, ValueError) as error:
        raise LabError(f"correct {source}: it is no zone file ({error})") from error
