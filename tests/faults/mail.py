"""Who writes to whom: twenty mail domains, half of them at either relay, and the messages of one trial. Pure.

Each domain is written to from the other relay only, so every message crosses. The names begin with `_`, as
the relays' own do: no authority has to vouch for their certificates.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chat import pgp

DOMAINS = tuple(f"_f{number:02}.lab" for number in range(1, 21))
# At which relay, by its name.
AT: Mapping[str, str] = {domain: "ab"[number % 2] for number, domain in enumerate(DOMAINS)}
OTHER = {"a": "b", "b": "a"}


@dataclass(frozen=True)
class FaultMessage:
    """One message with one recipient; `mid` is its Message-ID without angle brackets."""

    relay: str
    sender: str
    recipient: str
    mid: str

    def octets(self) -> bytes:
        return pgp.encrypted(self.sender, self.recipient, self.mid)


def hosted(relay: str) -> list[str]:
    """The domains at this relay."""
    return [domain for domain, at in AT.items() if at == relay]


def messages(
    tag: str, count: int, writers: Mapping[str, Sequence[str]], readers: Mapping[str, str]
) -> list[FaultMessage]:
    """`count` messages, in turn to every domain's reader, from the writers; `tag` begins every id."""
    turns = {relay: itertools.cycle(addresses) for relay, addresses in writers.items()}
    found = []
    for number, domain in zip(range(count), itertools.cycle(DOMAINS), strict=False):
        relay = OTHER[AT[domain]]
        mid = f"{tag}.{number}@faults.invalid"
        found.append(FaultMessage(relay, next(turns[relay]), readers[domain], mid))
    return found
