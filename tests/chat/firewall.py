"""Closing a host's port for a while, as a broken or blocked peer would look, or its way to DNS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

from tests.lab.host import LabHost

# Those that the tests close, and that an interrupted run may have left closed.
PORTS = (25, 443, 465, 993)


@contextmanager
def closed(host: LabHost, port: int, how: Literal["refuse", "hang"]) -> Iterator[None]:
    """The host takes nothing on this TCP port while the block runs; open connections are cut too."""
    if how == "refuse":
        host.refuse_port(port)
    else:
        host.drop_port(port)
    try:
        yield
    finally:
        host.restore_port(port)


@contextmanager
def cut_off(host: LabHost) -> Iterator[None]:
    """The host takes nothing on any port of clients and peers while the block runs."""
    with ExitStack() as stack:
        for port in PORTS:
            stack.enter_context(closed(host, port, "refuse"))
        yield


@contextmanager
def behind(host: LabHost, port: int) -> Iterator[None]:
    """The host is behind a firewall that passes one TCP port only, while the block runs."""
    host.refuse_other_ports(port)
    try:
        yield
    finally:
        host.allow_other_ports()


@contextmanager
def in_place_of(client: LabHost, address: str, host: LabHost, ports: Sequence[int]) -> Iterator[None]:
    """While the block runs, `host` answers what `client` connects to at an address where nobody is."""
    listed = ", ".join(map(str, ports))
    rule = f"ip daddr {address} tcp dport {{ {listed} }} dnat to {host.ip}"
    with _output_rule(client, "ip in_place", "nat hook output priority -100", rule):
        yield


@contextmanager
def blocked_outbound(host: LabHost, port: int) -> Iterator[None]:
    """The host's provider blocks connections from it to this TCP port while the block runs."""
    rule = f'oifname != "lo" tcp dport {port} reject with tcp reset'
    with _output_rule(host, "inet blocked", "filter hook output priority 0", rule):
        yield


@contextmanager
def _output_rule(host: LabHost, table: str, chain: str, rule: str) -> Iterator[None]:
    """A rule for what the host sends, in a table of its own. `table`: its family and name (nft(8))."""
    text = f"table {table} {{\nchain output {{\ntype {chain};\n{rule}\n}}\n}}\n"
    host.run(["nft", "-f", "-"], input=text)
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", *table.split()])


@contextmanager
def without_names(host: LabHost) -> Iterator[None]:
    """The host gets no answer to what it asks of DNS while the block runs."""
    host.lose_names()
    try:
        yield
    finally:
        host.find_names()


def reopen(host: LabHost) -> None:
    """Takes away what an interrupted run may have left."""
    for port in PORTS:
        host.restore_port(port)
    host.find_names()
    host.allow_other_ports()
