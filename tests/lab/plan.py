"""What the lab consists of: hosts, addresses, names and paths, as values. Touches nothing.

Every interface, network namespace, cgroup and path the lab makes is named here, so that taking it down
needs nothing but these names.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

BRIDGE = "chatlab"
NETWORK = ipaddress.ip_network("10.77.0.0/24")
# Documentation's, RFC 3849. Every host has an address in it, but the zone names hosts by IPv4 alone: what is
# to be reached by IPv6 has names of its own.
NETWORK6 = ipaddress.ip_network("2001:db8:77::/64")
CONTROL_ADDRESS = "10.77.0.1"
ZONE = "lab."
# The releases of Debian that a host may have, by their numbers.
SUITES = {"12": "bookworm", "13": "trixie"}
# And the versions of Postfix in these.
POSTFIX_VERSIONS = {"12": "3.7", "13": "3.10"}
RELEASE = "12"
SUITE = SUITES[RELEASE]
REPOSITORY = Path(__file__).resolve().parents[2]
# Of ours, on a relay.
PROGRAMS = "/usr/lib/chatmail-milter/bin"


@dataclass(frozen=True)
class Host:
    """A host of the lab. `boots`: it runs systemd in a container; else it is a network namespace only.

    `greets`: the ports on which a server greets once the host is up. `release`: Debian's, a key of SUITES."""

    name: str
    domain: str
    ip: str
    boots: bool
    relay: bool = False
    greets: tuple[int, ...] = ()
    release: str = RELEASE

    @property
    def ip6(self) -> str:
        """The address in `NETWORK6` with the same last number."""
        return str(NETWORK6[int(self.ip.rpartition(".")[2])])

    @property
    def postfix(self) -> str:
        """The unit that Postfix runs in: in Debian 12 an instance, which postfix.service starts."""
        return "postfix@-" if self.release == RELEASE else "postfix"

    @property
    def netns(self) -> str:
        return f"chatlab-{self.name}"

    @property
    def interface(self) -> str:
        """The end of its cable that is on the bridge; 15 characters at most, IFNAMSIZ."""
        return f"chatlab-{self.name}"


def _chosen(name: str) -> str:
    """A relay's release, which a variable of the environment may name: `LAB_B=13 make demo`."""
    return os.environ.get(name) or RELEASE


HOSTS = (
    Host("dns", "dns.lab", "10.77.0.2", boots=False),
    Host("a", "_a.lab", "10.77.0.11", boots=True, relay=True, greets=(22,), release=_chosen("LAB_A")),
    Host("b", "_b.lab", "10.77.0.12", boots=True, relay=True, greets=(22,), release=_chosen("LAB_B")),
    Host("mta", "mta.lab", "10.77.0.21", boots=True, greets=(22, 25)),
    Host("client", "client.lab", "10.77.0.31", boots=False),
)
BY_NAME = {name: host for host in HOSTS for name in (host.name, host.domain)}
# What a module of tests boots for itself: a host to install the package on, one that served mail before us,
# a second one for `_a.lab`, and two that are deployed as relays of other kinds: one of them has no name.
DEB = Host("deb", "deb.lab", "10.77.0.41", boots=True, greets=(22,))
OLD = Host("old", "old.lab", "10.77.0.51", boots=True, greets=(22, 143))
NEW = Host("new", "_a.lab", "10.77.0.61", boots=True, relay=True, greets=(22,), release=BY_NAME["a"].release)
OTHER = Host("other", "other-kind.lab", "10.77.0.71", boots=True, greets=(22,))
UNNAMED = Host("unnamed", "unnamed.lab", "10.77.0.81", boots=True, greets=(22,))
PASSING = (DEB, OLD, NEW, OTHER, UNNAMED)
RELAYS = tuple(host for host in HOSTS if host.relay)
DNS = BY_NAME["dns"]


@dataclass(frozen=True)
class Paths:
    """Where the lab keeps things. `cache` outlives it; the others go with it."""

    cache: Path
    state: Path
    run: Path

    @classmethod
    def from_environment(cls) -> Paths:
        return cls(
            cache=Path(os.environ.get("CHATMAIL_LAB_CACHE", "/var/cache/chatmail-lab")),
            state=Path("/var/lib/chatmail-lab"),
            run=Path("/run/chatmail-lab"),
        )

    @property
    def ca(self) -> Path:
        return self.state / "ca"

    @property
    def ssh(self) -> Path:
        return self.state / "ssh"

    @property
    def ssh_config(self) -> Path:
        return self.ssh / "config"

    @property
    def inventory(self) -> Path:
        return self.state / "inventory.yml"

    @property
    def log(self) -> Path:
        return self.state / "log"

    def records(self, host: Host) -> Path:
        """What the playbook says is to be published for a relay, in zone file syntax."""
        return self.state / "records" / f"{host.domain}.zone"

    @property
    def signers_records(self) -> Path:
        """The DKIM keys of the domains that are no relay of ours, in zone file syntax."""
        return self.state / "records" / "signers.zone"

    def root(self, host: Host) -> Path:
        """The root directory of a host: an overlay on the base."""
        return self.state / "hosts" / host.name / "root"

    def process(self, name: str) -> Path:
        """The record of a process that the lab started."""
        return self.run / f"{name}.process"
