"""Whether a mail host is this host: mail that is sent there comes back (RFC 5321, 5.1 and 6.3).

By name, and by address as DNS has it: behind address translation no interface has the address that peers
see. Where DNS does not answer, no host is this one; the ports for peers refuse other domains' mail anyway.
"""

from __future__ import annotations

from typing import Protocol

from chatmail_milter.address import ip_literal
from mxdeliv_app.https.allowed_addresses import IPAddress
from mxdeliv_app.https.resolver import NameTroubleError


class AddressLookup(Protocol):
    """What is asked of DNS; `names.Names` in the daemon."""

    def addresses(self, host: str) -> list[IPAddress]: ...


class OwnHost:
    """This host, by the name that it calls itself (`mail.hostname`): a name or a bracketed IP literal."""

    def __init__(self, name: str, names: AddressLookup) -> None:
        self._name = name
        self._names = names

    def is_named(self, host: str) -> bool:
        """Whether the name `host` is this host's; asks no DNS."""
        return host == self._name

    def is_reached_by(self, host: str) -> bool:
        """Whether `host` is this host's name, or has an address of it."""
        return self.is_named(host) or any(map(self.has, self._addresses(host)))

    def has(self, address: IPAddress) -> bool:
        """Whether `address` is one of this host's."""
        return address in self._addresses(self._name)

    def _addresses(self, host: str) -> list[IPAddress]:
        literal = ip_literal(host)
        if literal is not None:
            return [literal]
        try:
            return self._names.addresses(host)
        except NameTroubleError:
            return []
