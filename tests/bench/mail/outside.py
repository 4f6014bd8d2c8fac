"""What stands outside of the lab's relays: users with a steady flow of mail, and twenty peers that take it.

All are programs in the namespace of the lab's clients. The peers' domains begin with `_`, so nobody looks at
their certificates; they are in the lab's zone while the context is open. A peer can be dead to one relay
alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chat.person import fresh_address, fresh_password
from tests.lab import Lab, ca, faults
from tests.lab.command import WITH_US, run
from tests.lab.host import LabHost
from tests.lab.plan import NETWORK, REPOSITORY

PEERS = 20
DOMAINS = tuple(f"_peer{number}.lab" for number in range(PEERS))
ADDRESSES = tuple(str(NETWORK[101 + number]) for number in range(PEERS))
_FAULT = "dead_peer"


@dataclass(frozen=True)
class OutsideMessage:
    """A message: when its user began to send it, and when Postfix said it is queued (None: refused)."""

    recipient: str
    began: float
    queued: float | None


class Talker:
    """A program that answers each line with one."""

    def __init__(self, netns: str, words: Sequence[str], log: Path) -> None:
        self._errors = log.open("ab")
        self._program = subprocess.Popen(
            [*WITH_US, "ip", "netns", "exec", netns, sys.executable, "-m", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=REPOSITORY,
        )

    def say(self, line: str) -> None:
        """Say a line, to which `hear` gives the answer."""
        assert self._program.stdin is not None
        self._program.stdin.write(f"{line}\n")
        self._program.stdin.flush()

    def hear(self) -> str:
        """The answer. `RuntimeError` if the program has ended."""
        assert self._program.stdout is not None
        answer = self._program.stdout.readline()
        if not answer:
            raise RuntimeError(f"read {self._errors.name}: {self._program.args!r} has ended")
        return answer

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hear()

    def close(self) -> None:
        """End it."""
        self._program.communicate()
        self._errors.close()


class OutsideHost:
    """The users of each relay and the peers, while the context of `outside` is open."""

    def __init__(
        self, hosts: Sequence[LabHost], client: LabHost, users: Sequence[Talker], peers: Talker
    ) -> None:
        self.hosts = hosts
        self._client = client
        self._users = users
        self._peers = peers

    def send(self, rate: float, seconds: float) -> list[list[OutsideMessage]]:
        """So many messages a second by each of `hosts`, all at the same time, to the peers by turns."""
        order = json.dumps({"rate": rate, "seconds": seconds, "domains": DOMAINS})
        for one in self._users:
            one.say(order)
        return [[OutsideMessage(*sent) for sent in json.loads(one.hear())] for one in self._users]

    def arrived(self) -> dict[str, float]:
        """By recipient, what has come to the peers since this was asked last."""
        return dict(json.loads(self._peers.ask("collect")))

    def close_ports(self, number: int, host: LabHost) -> None:
        """The peer with this number answers every connection of the relay's with a reset."""
        self._put(number, host, "meta l4proto tcp reject with tcp reset")

    def drop(self, number: int, host: LabHost) -> None:
        """What the relay sends to the peer vanishes."""
        self._put(number, host, "drop")

    def hang(self, number: int, host: LabHost) -> None:
        """The peer shakes hands with the relay over TLS and then says nothing; nor does it on port 25."""
        self._put(number, host, "tcp dport 25 drop")
        self._peers.ask(f"hang {ADDRESSES[number]} {host.ip}")

    def revive(self) -> None:
        """All peers are well."""
        faults.take_away(self._client.host, _FAULT)
        self._peers.ask("well")

    def _put(self, number: int, host: LabHost, rule: str) -> None:
        faults.put(self._client.host, _FAULT, f"ip saddr {host.ip} ip daddr {ADDRESSES[number]} {rule}")


@contextmanager
def outside(lab: Lab, hosts: Sequence[LabHost], message: Path, users: int) -> Iterator[OutsideHost]:
    """So many users with accounts on each of `hosts`, who all send `message`."""
    client = lab.host("client")
    for address in ADDRESSES:
        run("ip", "-n", client.netns, "addr", "replace", f"{address}/{NETWORK.prefixlen}", "dev", "eth0")
    records = lab.paths.signers_records.with_name("peers.zone")
    records.write_text(
        "".join(f"{domain}.  A  {ip}\n" for domain, ip in zip(DOMAINS, ADDRESSES, strict=True)), "ascii"
    )
    lab.publish()
    log = lab.paths.log / "bench"
    certificate, key = ca.self_signed(lab.paths.ca, "_peer.lab")
    peers = Talker(client.netns, ["tests.bench.mail.peers", str(certificate), str(key)], log)
    flow = ["tests.bench.mail.flow"]
    senders = [Talker(client.netns, [*flow, host.ip, str(message)], log) for host in hosts]
    try:
        for one, host in zip(senders, hosts, strict=True):
            one.ask(json.dumps([(fresh_address(host.domain), fresh_password()) for _ in range(users)]))
        yield OutsideHost(hosts, client, senders, peers)
    finally:
        for program in (*senders, peers):
            program.close()
        faults.take_away(client.host, _FAULT)
        records.unlink(missing_ok=True)
        lab.publish()
        for address in ADDRESSES:
            run("ip", "-n", client.netns, "addr", "del", f"{address}/{NETWORK.prefixlen}", "dev", "eth0")
