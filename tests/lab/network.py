"""The lab's cables: a bridge, and a network namespace for each host with one end of a veth pair in it.

No host has a route to anything but the lab's own network, and none forwards, so nothing gets out. Each step
looks first whether it is done, so that an interrupted one can be repeated.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.lab.command import run
from tests.lab.errors import LabError
from tests.lab.plan import BRIDGE, CONTROL_ADDRESS, DNS, NETWORK, NETWORK6, Host

NETNS_CONFIG = Path("/etc/netns")


def links(netns: str | None = None) -> dict[str, dict[str, object]]:
    """The interfaces of a namespace, by name."""
    where = ("-n", netns) if netns else ()
    return {link["ifname"]: link for link in json.loads(run("ip", *where, "-j", "addr").stdout or "[]")}


def namespaces() -> set[str]:
    return {entry["name"] for entry in json.loads(run("ip", "-j", "netns").stdout or "[]")}


def make_bridge() -> None:
    there = links()
    if BRIDGE not in there:
        for name, link in there.items():
            for address in link["addr_info"]:  # type: ignore[attr-defined]
                if address["family"] == "inet" and address["local"].startswith(str(NETWORK)[:-4]):
                    raise LabError(f"free {NETWORK}: interface {name} of this machine uses it")
        run("ip", "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    run("ip", "addr", "replace", f"{CONTROL_ADDRESS}/{NETWORK.prefixlen}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def plug(host: Host) -> None:
    """Give a host its namespace, its interface and its addresses."""
    if host.netns not in namespaces():
        run("ip", "netns", "add", host.netns)
    if "eth0" not in links(host.netns):
        run("ip", "link", "del", host.interface, check=False)  # half a cable of an interrupted run
        run("ip", "link", "add", host.interface, "type", "veth", "peer", "name", "eth0", "netns", host.netns)
    run("ip", "link", "set", host.interface, "master", BRIDGE, "up")
    batch = (
        f"link set lo up\naddr replace {host.ip}/{NETWORK.prefixlen} dev eth0\n"
        # Nobody else has it, and services are to bind to it at once.
        f"addr replace {host.ip6}/{NETWORK6.prefixlen} dev eth0 nodad\nlink set eth0 up\n"
    )
    run("ip", "-n", host.netns, "-batch", "-", input=batch)
    if not host.boots and host is not DNS:
        # ip netns exec lays these files over /etc for programs that run in the namespace.
        directory = NETNS_CONFIG / host.netns
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "resolv.conf").write_text(resolv_conf(), encoding="utf-8")


def unplug(host: Host) -> None:
    """Take away what `plug` made."""
    run("ip", "link", "del", host.interface, check=False)
    run("ip", "netns", "del", host.netns, check=False)
    shutil.rmtree(NETNS_CONFIG / host.netns, ignore_errors=True)


def remove_bridge() -> None:
    run("ip", "link", "del", BRIDGE, check=False)
    if NETNS_CONFIG.is_dir() and not any(NETNS_CONFIG.iterdir()):
        NETNS_CONFIG.rmdir()


def resolv_conf() -> str:
    """What a host asks until the playbook gives it a resolver of its own."""
    return f"nameserver {DNS.ip}\noptions timeout:2 attempts:2\n"
