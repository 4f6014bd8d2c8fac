"""Rate limit on new accounts per IP address and minute, by first login or at `/new`.

GCRA (`processes.ratelimit`) in a table of fixed size, which the workers of `chatmail-hooks` and
of `mxdeliv-app` share (`shared_table.py`). Stores no IP address, only its keyed hash; the key is random and
kept in the table. Logins to existing accounts don't count.
"""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path

from chatmail_milter import config
from chatmail_milter.address import Peer
from chatmail_milter.processes.ratelimit import Limiter, Rate
from chatmail_milter.processes.shared_table import ProcessLock, SharedTable

# The playbook creates this empty file, writable for the group of our programs.
PATH = Path("/run/chatmail/new-accounts")

# Slots of 16 octets. With more networks than slots at once, those with the shortest wait are evicted.
_SLOTS = 1 << 16
_SLOT_SIZE = 16

_log = logging.getLogger(__name__)

_shared: list[Limiter] = []


def limiter(rules: config.AccountSettings, path: Path | None = None) -> Limiter:
    """A limiter with a burst of one minute's number. Its table is the file `path`, else private memory."""
    rate = Rate(rules.new_per_minute, max(1, rules.new_per_minute))
    if path is None:
        return Limiter(rate, _SLOTS, ProcessLock())
    # With the rate in the name: TATs are in units of it. Those of another rate would be far in the future.
    table = SharedTable(path, f"gcra {_SLOTS} {rate.per_minute}", _SLOTS * _SLOT_SIZE)
    return Limiter(rate, _SLOTS, table.lock, table, table.mark)


def share(rules: config.AccountSettings, path: Path = PATH) -> None:
    """Creates the limiter that `shared` returns. Call before workers are forked."""
    if not path.exists():
        _log.warning("event=limit-not-shared")
    _shared[:] = [limiter(rules, path if path.exists() else None)]


def shared(rules: config.AccountSettings) -> Limiter:
    """The limiter of all workers; a private one if `share` was not called."""
    return _shared[0] if _shared else limiter(rules)


def network_named(ip: str) -> str | None:
    """`network` for an IP address as text; None if it is not one, as for a local program."""
    try:
        return network(ipaddress.ip_address(ip))
    except ValueError:
        return None


def network(peer: Peer) -> str:
    """The network that counts as one client: an IPv4 address, or the IPv6 /64 of a provider's customer."""
    if isinstance(peer, ipaddress.IPv6Address):
        if peer.ipv4_mapped is not None:
            return str(peer.ipv4_mapped)
        return str(ipaddress.IPv6Network((peer, 64), strict=False).network_address)
    return str(peer)
