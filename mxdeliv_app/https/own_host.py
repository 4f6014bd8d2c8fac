"""Detects that an MX host is this host, to which mail would loop (RFC 5321, 5.1 and 6.3).

Compares names, and addresses in DNS: behind NAT, no interface has the address that peers see. If DNS fails,
the host counts as another one; the ports for peers refuse mail to other domains anyway.
"""

from __future__ import annotations

from typing import Protocol

from chatmail_milter.address import ip_literal
from mxdeliv_app.https.allowed_addresses import IPAddress
from mxdeliv_app.https.resolver import NameTroubleError


class AddressLookup(Protocol):
    """The DNS lookup that is needed; `resolver.Resolver` in the daemon."""

    def addresses(self, host: str) -> list[IPAddress]: ...


class OwnHost:
    """This host. `name`: `mail.hostname`, a domain name or a bracketed IP literal."""

    def __init__(self, name: str, names: AddressLookup) -> None:
        self._name = name
        self._names = names

    def is_named(self, host: str) -> bool:
        """Whether `host` is this host's name. No DNS query."""
        return host == self._name

    def is_reached_by(self, host: str) -> bool:
        """Whether `host` is this host's name, or has one of its addresses."""
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
