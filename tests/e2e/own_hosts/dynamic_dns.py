"""A name server for one domain that takes signed updates (RFC 2136, 8945), where the clients are."""

from __future__ import annotations

import socketserver
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from socket import SOCK_DGRAM, SOCK_STREAM
from threading import Thread

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update

from tests.lab.plan import OTHER, Host
from tests.lab.sockets import bound

PORT = 5353
KEY, SECRET = "updates.", "bm9ib2R5IGVsc2Uga25vd3MgdGhpcw=="
ZONE = dns.name.from_text(OTHER.domain)
_KEYRING = {dns.name.from_text(KEY): dns.tsig.Key(KEY, SECRET, dns.tsig.HMAC_SHA512)}
Key = tuple[dns.name.Name, dns.rdatatype.RdataType]


class DynamicZone:
    """The records of the domain: two addresses, and what updates add and take away; `updates` counts them."""

    def __init__(self) -> None:
        soa = f"dns.{OTHER.domain}. root.{OTHER.domain}. 1 60 60 60 1"
        self.records: dict[Key, dns.rrset.RRset] = {}
        self.updates = 0
        for name, kind, text in (
            (ZONE, "SOA", soa),
            (ZONE, "A", OTHER.ip),
            (dns.name.from_text(f"autoconfig.{OTHER.domain}"), "A", OTHER.ip),
        ):
            self._add(dns.rrset.from_text(name, 1, "IN", kind, text))

    def answer(self, wire: bytes) -> bytes:
        """The answer to a question or an update, each as octets."""
        asked = dns.message.from_wire(wire, keyring=_KEYRING)
        answer = dns.message.make_response(asked)
        if isinstance(asked, dns.update.UpdateMessage):
            if asked.had_tsig:
                self._update(asked.update)
            else:
                answer.set_rcode(dns.rcode.REFUSED)
        else:
            answer.flags |= dns.flags.AA
            (question,) = asked.question
            if found := self.records.get((question.name, question.rdtype)):
                answer.answer.append(found)
        return answer.to_wire()

    def _update(self, changes: list[dns.rrset.RRset]) -> None:
        self.updates += 1
        for change in changes:
            if change.rdclass == dns.rdataclass.IN and not change.deleting:
                self._add(change)
            elif change.rdtype == dns.rdatatype.TXT:
                self.records.pop((change.name, change.rdtype), None)

    def _add(self, records: dns.rrset.RRset) -> None:
        known = self.records.setdefault((records.name, records.rdtype), records)
        for record in records:
            known.add(record)


@contextmanager
def name_server(host: Host) -> Iterator[DynamicZone]:
    """It answers on `PORT` as long as the block runs, by UDP and TCP."""
    zone = DynamicZone()
    with ExitStack() as open_servers:
        for kind, server, handler in (
            (SOCK_DGRAM, socketserver.ThreadingUDPServer, _udp(zone.answer)),
            (SOCK_STREAM, socketserver.ThreadingTCPServer, _tcp(zone.answer)),
        ):
            one = server((host.ip, PORT), handler, bind_and_activate=False)
            one.socket.close()
            one.socket = bound(host, PORT, kind)
            open_servers.callback(one.server_close)
            open_servers.callback(one.shutdown)
            Thread(target=one.serve_forever, args=(0.05,), daemon=True).start()
        yield zone


def _udp(answer: Callable[[bytes], bytes]) -> type[socketserver.BaseRequestHandler]:
    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, socket = self.request
            socket.sendto(answer(wire), self.client_address)

    return Datagram


def _tcp(answer: Callable[[bytes], bytes]) -> type[socketserver.BaseRequestHandler]:
    class Stream(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            # RFC 1035, 4.2.2: the length stands before a message.
            while head := self.rfile.read(2):
                said = answer(self.rfile.read(struct.unpack("!H", head)[0]))
                self.wfile.write(struct.pack("!H", len(said)) + said)

    return Stream
