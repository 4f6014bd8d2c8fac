"""Limit of accounts that first logins from one address may make in a minute, for all workers of the hooks.

GCRA (`rules.rate`) over a table in shared memory (`limiter.py`) of fixed size; no address is stored, only its
hash under a key of this run of the program. Existing accounts' logins are not counted.
"""

from __future__ import annotations

import ipaddress

from chatmail_milter import config
from chatmail_milter.address import Peer
from chatmail_milter.limiter import Limiter
from chatmail_milter.process_lock import ProcessLock
from chatmail_milter.rules.rate import Rate

# 16 octets each. Of more networks than this at once, those with least to wait for are forgotten.
_SLOTS = 1 << 16

_shared: list[Limiter] = []


def limiter(rules: config.Accounts) -> Limiter:
    """A new one: as many at once as in a minute."""
    rate = Rate(rules.new_per_minute, max(1, rules.new_per_minute))
    return Limiter(rate, _SLOTS, ProcessLock())


def share(rules: config.Accounts) -> None:
    """Before workers are forked: make the one that `shared` gives each of them."""
    _shared[:] = [limiter(rules)]


def shared(rules: config.Accounts) -> Limiter:
    """The one of all workers; a new one where there are none."""
    return _shared[0] if _shared else limiter(rules)


def network(peer: Peer) -> str:
    """What is counted as one client: an IPv4 address, or an IPv6 /64, as one customer of a provider has."""
    if isinstance(peer, ipaddress.IPv6Address):
        if peer.ipv4_mapped is not None:
            return str(peer.ipv4_mapped)
        return str(ipaddress.IPv6Network((peer, 64), strict=False).network_address)
    return str(peer)
