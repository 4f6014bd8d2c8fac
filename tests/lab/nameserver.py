"""The lab's DNS server: nsd, in a namespace of its own, authoritative for `lab.` and an empty root.

It is the base's, chrooted in an overlay, so that no daemon is installed on this machine.
"""

from __future__ import annotations

import os
import signal
import time

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from tests.lab import process
from tests.lab.files import write_whole
from tests.lab.plan import DNS, ZONE, Paths
from tests.lab.wait import until
from tests.lab.zone import BROKEN, ROOT_ZONE, lab_zone

CONFIG = f"""\
server:
    ip-address: {DNS.ip}
    username: ""
    zonesdir: "/etc/nsd"
    database: ""
    pidfile: ""
    xfrdir: "/tmp"
    server-count: 1
    hide-version: yes
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: "{ZONE}"
    zonefile: "lab.zone"
zone:
    name: "."
    zonefile: "root.zone"
# It has no file, so every question about it is answered with SERVFAIL.
zone:
    name: "{BROKEN}."
    zonefile: "none.zone"
"""
DEADLINE = 10.0


def start(paths: Paths) -> None:
    """Write the zones and start the server, in the root directory that is mounted for it."""
    root = paths.root(DNS)
    (root / "etc/nsd/lab.conf").write_text(CONFIG, encoding="utf-8")
    (root / "etc/nsd/root.zone").write_text(ROOT_ZONE, encoding="utf-8")
    serial = write_zone(paths)
    nsd = ["chroot", str(root), "/usr/sbin/nsd", "-d", "-c", "/etc/nsd/lab.conf"]
    process.start(["ip", "netns", "exec", DNS.netns, *nsd], paths.process("dns"), paths.log / "dns")
    await_serial(serial, paths)


def publish(paths: Paths) -> None:
    """Read the records that the playbook wrote and serve them; returns when they are served."""
    serial = write_zone(paths)
    pid = process.alive(paths.process("dns"))
    if pid is not None:
        os.kill(pid, signal.SIGHUP)
    await_serial(serial, paths)


def stop(paths: Paths) -> None:
    process.stop(paths.process("dns"), deadline=5.0)


def write_zone(paths: Paths) -> int:
    files = sorted(paths.signers_records.parent.glob("*.zone"))
    published = {str(file): file.read_text(encoding="utf-8") for file in files}
    # Another than is served now, also within a second of it.
    serial = max(int(time.time()), (served_serial() or 0) + 1)
    write_whole(paths.root(DNS) / "etc/nsd/lab.zone", lab_zone(serial, published))
    return serial


def await_serial(serial: int, paths: Paths) -> None:
    until(
        lambda: (served_serial() or 0) >= serial,
        DEADLINE,
        f"read {paths.log / 'dns'}: the name server does not serve the zone",
    )


def served_serial() -> int | None:
    """The serial number of `lab.` as it is served now, None when nobody answers."""
    try:
        answer = dns.query.udp(dns.message.make_query(ZONE, dns.rdatatype.SOA), DNS.ip, timeout=0.5)
    except (dns.exception.DNSException, OSError):
        return None
    return int(answer.answer[0][0].serial) if answer.answer else None
