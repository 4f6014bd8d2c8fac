"""The socketmap that smtp(8) asks about DNS replies allows the same addresses as the HTTPS client."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

import pytest

from mxdeliv_app.https.allowed_addresses import AllowedAddresses
from mxdeliv_app.relay.dns_filter import DnsReplyFilter
from tests.blackbox.relay.installed_relay import InstalledRelay, ScriptedPeer


class Asking:
    """A connection as smtp(8) keeps it."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self._stream = self.socket.makefile("rb")

    def ask(self, record: str) -> str:
        request = f"addresses {record}".encode()
        self.socket.sendall(b"%d:%s," % (len(request), request))
        size = int(b"".join(iter(lambda: self._stream.read(1), b":")))
        answer = self._stream.read(size + 1)
        assert answer.endswith(b",")
        return answer[:-1].decode()


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("A", "8.8.8.8", True),
        ("A", "127.0.0.2", True),  # allowed by the configuration here
        ("A", "127.0.0.9", False),
        ("A", "10.0.0.1", False),
        ("A", "192.31.196.1", False),
        ("A", "169.254.169.254", False),
        ("AAAA", "2606:4700::1111", True),
        ("AAAA", "::1", False),
        ("AAAA", "::ffff:10.0.0.1", False),
        ("AAAA", "::ffff:8.8.8.8", True),
        ("AAAA", "64:ff9b::a00:1", False),
        ("AAAA", "2001:db8::1", False),
        ("AAAA", "2002:a00:1::1", False),
        ("AAAA", "2620:4f:8000::1", False),
        ("AAAA", "fe80::1", False),
        ("AAAA", "fd00::1", False),
        ("A", "nonsense", False),
        ("MX", "10 mx.b.test.", True),
        ("CNAME", "a.b.test.", True),
    ],
)
def test_each_record_is_judged(
    relay: InstalledRelay, peer: ScriptedPeer, kind: str, value: str, kept: bool
) -> None:
    connection = Asking(relay.dns_filter_path)
    # Postfix folds the key.
    for record in (f"mx.b.test. 300 IN {kind} {value}", f"mx.b.test. 300 in {kind.lower()} {value}"):
        assert connection.ask(record) == ("NOTFOUND " if kept else "OK IGNORE")


def test_a_connection_is_kept_and_nonsense_ends_it(relay: InstalledRelay, peer: ScriptedPeer) -> None:
    connection = Asking(relay.dns_filter_path)
    for _ in range(3):
        assert connection.ask("a.test. 60 IN A 10.1.2.3") == "OK IGNORE"
    connection.socket.sendall(b"99999999:")
    assert connection.socket.recv(1) == b""
    assert Asking(relay.dns_filter_path).ask("a.test. 60 IN A 9.9.9.9") == "NOTFOUND "


@pytest.mark.parametrize("allowed", [[], ["10.77.0.0/24", "2001:db8:77::/64"]])
def test_it_says_the_same_as_the_guard_of_https(allowed: list[str]) -> None:
    """Both ends of every network that either knows, and their neighbours."""
    guard = AllowedAddresses(map(ip_network, allowed))
    judge = DnsReplyFilter(guard)
    texts = [
        *allowed,
        *("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.52.193.0/24", "192.175.48.0/24"),
        *("198.18.0.0/15", "224.0.0.0/4", "2001::/23", "2000::/3", "3fff::/20", "2620:4f:8000::/48"),
    ]
    for network in map(ip_network, texts):
        first, last = int(network.network_address), int(network.broadcast_address)
        for number in (first - 1, first, last, last + 1):
            address = ip_address(number) if network.version == 4 else ip_address(_v6(number))
            kind = "A" if address.version == 4 else "AAAA"
            kept = judge.answer(f"addresses x.test. 1 IN {kind} {address}") == "NOTFOUND "
            assert kept is guard.permits(address), address


def _v6(number: int) -> str:
    return socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))
