"""Trouble on purpose, made from outside the host: ports that hang or refuse, names lost, a cable that is out.

The rules are in an nftables table of the lab's own in the host's namespace, one chain per fault, so that what
the host itself has in nftables is untouched and a fault can be undone without looking for a handle.
"""

from __future__ import annotations

from tests.lab import container
from tests.lab.command import run
from tests.lab.plan import Host, Paths

TABLE = "inet chatlab_faults"
# Before the host's own filters: priority filter is 0.
HOOK = "{ type filter hook input priority -50; policy accept; }"
_OUTPUT = "{ type filter hook output priority -50; policy accept; }"


def drop_port(host: Host, port: int) -> None:
    put(host, f"port_{port}", f"tcp dport {port} drop")


def refuse_port(host: Host, port: int) -> None:
    put(host, f"port_{port}", f"tcp dport {port} reject with tcp reset")


def lose_names(host: Host) -> None:
    put(host, "names", "udp sport 53 drop")


def refuse_others(host: Host, port: int) -> None:
    """As a network that passes one TCP port: the host can connect to no other. What is open stays open."""
    rule = f"tcp flags & (syn | ack) == syn tcp dport != {port} reject with tcp reset"
    _put(host, "others", _OUTPUT, f"oifname != lo {rule}")


def allow_others(host: Host) -> None:
    _take_away(host, "others", _OUTPUT)


def put(host: Host, name: str, rule: str) -> None:
    # Loopback is left alone: the fault is the network's, not the host's.
    _put(host, name, HOOK, f"iifname != lo {rule}")


def _put(host: Host, name: str, hook: str, rule: str) -> None:
    chain = f"{TABLE} {name}"
    nft(
        host,
        f"add table {TABLE}\nadd chain {chain} {hook}\nflush chain {chain}\nadd rule {chain} {rule}\n",
    )


def restore_port(host: Host, port: int) -> None:
    take_away(host, f"port_{port}")


def find_names(host: Host) -> None:
    take_away(host, "names")


def take_away(host: Host, name: str) -> None:
    _take_away(host, name, HOOK)


def _take_away(host: Host, name: str, hook: str) -> None:
    chain = f"{TABLE} {name}"
    nft(host, f"add table {TABLE}\nadd chain {chain} {hook}\nflush chain {chain}\ndelete chain {chain}\n")


def set_cable(host: Host, state: str) -> None:
    run("ip", "link", "set", host.interface, state)


def nft(host: Host, script: str) -> None:
    # The host's own: that of Debian 12 crashes over the tables that Debian 13's has made.
    leader = container.leader(host, Paths.from_environment()) if host.boots else None
    words = container.enter(leader) if leader else ["ip", "netns", "exec", host.netns]
    run(*words, "nft", "-f", "-", input=script)
