"""An authoritative DNS server on a loopback port, for the relay under test."""

from __future__ import annotations

import socket
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class Dns:
    """An authoritative server for whatever `zone` says: (name, type) to texts, or an rcode by name.

    `turns` come before the zone, each once; `raw` is what is answered instead, None for nothing at all.
    `asked` are the names, in order.
    """

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.turns: dict[tuple[str, str], list[list[str]]] = {}
        self.rcodes: dict[str, int] = {}
        self.raw: dict[str, bytes | None] = {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                octets, client = self._socket.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(octets)
            name = query.question[0].name.to_text(omit_final_dot=True)
            self.asked.append(name)
            raw = self.raw[name] if name in self.raw else self._answer(query).to_wire()
            if raw is not None:
                self._socket.sendto(raw, client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        turns = self.turns.get((name, kind))
        texts = turns.pop(0) if turns else self.zone.get((name, kind))
        alias = self.zone.get((name, "CNAME"))
        if name in self.rcodes:
            answer.set_rcode(dns.rcode.Rcode(self.rcodes[name]))
        elif alias and not texts:
            answer.answer.append(dns.rrset.from_text(question.name, 0, "IN", "CNAME", *alias))
        elif texts:
            answer.answer.append(dns.rrset.from_text(question.name, 0, "IN", kind, *texts))
        elif not any(known == name for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer

    def close(self) -> None:
        self._socket.close()
