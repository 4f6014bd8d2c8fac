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
from tests.lab.plan import BY_NAME, CONTROL_ADDRESS, HOSTS, OLD, OTHER, ZONE

UNUSED_ADDRESS = "10.77.0.99"
# A domain that is there, but its name server fails.
BROKEN = "broken.lab"

TRAPS = f"""\
loopback  A   127.0.0.1
private   A   192.168.77.7
nullmx    MX  0 .
ours      MX  10 _a
ours-too  A   {BY_NAME["a"].ip}
dead      A   {UNUSED_ADDRESS}
"""

# A peer that tests play, at the address where the clients are.
PEERS = f"""\
peer      A   {BY_NAME["client"].ip}
peer      MX  10 peer
tls       A   {BY_NAME["client"].ip}
"""

# One that has addresses where a relay must never connect, beside one where it may.
MIXED_PEER = f"""\
mixed     A     127.0.0.1
mixed     A     192.168.77.7
mixed     A     {BY_NAME["client"].ip}
mixed     AAAA  ::1
mixed     AAAA  ::ffff:192.168.77.7
"""

# What only IPv6 leads to: a peer that tests play, by its MX and under a name that isn't ASCII (bücher), and
# the relay _b.lab, for who has a route there.
SIX_PEERS = f"""\
_six                  MX    10 _mx._six
_mx._six              AAAA  {BY_NAME["client"].ip6}
_six.xn--bcher-kva    AAAA  {BY_NAME["client"].ip6}
b6                    AAAA  {BY_NAME["b"].ip6}
"""

# Peers with an MTA-STS policy (RFC 8461), tests play these too: one whose MX it names, one whose it doesn't.
STRICT_PEERS = "".join(
    f"""\
{name}           MX   10 mx.{name}
mx.{name}        A    {BY_NAME["client"].ip}
mta-sts.{name}   A    {BY_NAME["client"].ip}
_mta-sts.{name}  TXT  "v=STSv1; id=1;"
"""
    for name in ("kept", "moved")
)

# Domains of peers that sign nothing. Tests send from this machine's address in the lab: the first two domains
# name it, by an address record and by their MX. The third has an MX that can't be looked up.
UNSIGNED_PEERS = f"""\
unsigned          A   {CONTROL_ADDRESS}
unsigned-mx       MX  10 mx.unsigned-mx
mx.unsigned-mx    A   {CONTROL_ADDRESS}
unsigned-trouble  MX  10 mx.{BROKEN}.
"""

# The domains of a host that served mail before us, and the chat domain that is added to it.
OLD_DOMAINS = "".join(
    f"{name}  A  {OLD.ip}\n{name}  MX  10 {OLD.domain}.\n" for name in ("old", "shop", "_c")
)

# A relay whose certificate is from an authority, which runs where the clients are.
OTHER_KIND = f"""\
other-kind             A   {OTHER.ip}
other-kind             MX  10 {OTHER.domain}.
autoconfig.other-kind  A   {OTHER.ip}
acme                   A   {BY_NAME["client"].ip}
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
    extras = [parse(source, text) for source, text in published.items()]
    for host in HOSTS:
        # The playbook writes those of a relay, which may have moved to another address.
        if not any(extra.get_rdataset(f"{host.domain}.", dns.rdatatype.A) for extra in extras):
            lines.append(f"{host.domain}.  A  {host.ip}\n")
        if host.relay or host.name == "mta":
            lines.append(f"{host.domain}.  MX  10 {host.domain}.\n")
    own = "".join(
        (*lines, TRAPS, PEERS, MIXED_PEER, SIX_PEERS, STRICT_PEERS, UNSIGNED_PEERS, OLD_DOMAINS, OTHER_KIND)
    )
    zone = parse("the lab's own records", own)
    for extra in extras:
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
