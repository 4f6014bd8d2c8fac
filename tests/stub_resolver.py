"""A DNS resolver for tests, at a socket in the file system: what `chatmail-resolver.socket` leads to."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

SERVFAIL = "servfail"
# Answers that are none.
HANG_UP, GARBAGE, ANOTHER = "hang up", "garbage", "another question's answer"

# Name (with its dot) and type, to the records' text or one of the above. Other names don't exist.
Records = Mapping[tuple[str, str], Sequence[str] | str]


class StubResolver:
    """`asked` are the questions so far, as name and type."""

    def __init__(self, path: Path, records: Records) -> None:
        self.path = str(path)
        self.records = dict(records)
        self.asked: list[tuple[str, str]] = []
        self._question = threading.Event()
        self._answering = threading.Event()
        self._answering.set()
        stub = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                answer = stub._answer(self.request.recv(65535))
                self.request.sendall(answer)

        self.server = socketserver.ThreadingUnixStreamServer(self.path, Handler)
        self.server.daemon_threads = True

    @contextmanager
    def holding(self) -> Iterator[threading.Event]:
        """Answers nothing as long as this lasts; the event says that something was asked."""
        self._question.clear()
        self._answering.clear()
        try:
            yield self._question
        finally:
            self._answering.set()

    def _answer(self, packet: bytes) -> bytes:
        query = dns.message.from_wire(packet[2:])
        name, kind = query.question[0].name, query.question[0].rdtype
        key = (name.to_text().lower(), dns.rdatatype.to_text(kind))
        self.asked.append(key)
        self._question.set()
        assert self._answering.wait(10)
        found = self.records.get(key)
        response = dns.message.make_response(query, recursion_available=True)
        if found is HANG_UP:
            return b""
        if found is GARBAGE:
            return struct.pack(">H", 20) + b"\xff" * 20
        if found is ANOTHER:
            response.id ^= 1
        elif isinstance(found, str):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif found is None and not any(known == key[0] for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        for text in found or () if not isinstance(found, str) else ():
            self._add(response, name.to_text(), key[1], text)
        wire = response.to_wire()
        return struct.pack(">H", len(wire)) + wire

    def _add(self, response: dns.message.Message, name: str, kind: str, text: str) -> None:
        if text.startswith("CNAME "):
            target = text.removeprefix("CNAME ")
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", target))
            for other in self.records[target, kind]:
                self._add(response, target, kind, other)
            return
        rrset = response.find_rrset(
            response.answer,
            dns.name.from_text(name),
            dns.rdataclass.IN,
            dns.rdatatype.from_text(kind),
            create=True,
        )
        for record in dns.rrset.from_text(name, 60, "IN", kind, text):
            rrset.add(record, 60)


@contextmanager
def running(path: Path, records: Records) -> Iterator[StubResolver]:
    """A resolver at `path`."""
    stub = StubResolver(path, records)
    thread = threading.Thread(target=stub.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        stub.server.shutdown()
        stub.server.server_close()
        thread.join()


def txt(record: bytes) -> str:
    """A TXT record's text, in strings of 255 octets at most (RFC 1035, 3.3)."""
    return " ".join(f'"{record[at : at + 255].decode()}"' for at in range(0, len(record), 255))
