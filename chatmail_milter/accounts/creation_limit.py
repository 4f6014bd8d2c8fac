"""Limit of accounts that one address may make in a minute, by first logins and at `/new`.

GCRA (`processes.rate`) over a table of fixed size (`ratelimit.py`), which the workers of the hooks and of
the web app share (`shared_table.py`). No address is stored, only its hash under a key that is made with
the table. Existing accounts' logins are not counted.
"""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path

from chatmail_milter import config
from chatmail_milter.address import Peer
from chatmail_milter.processes.lock import ProcessLock
from chatmail_milter.processes.rate import Rate
from chatmail_milter.processes.ratelimit import Limiter
from chatmail_milter.processes.shared_table import SharedTable

# The playbook makes it, empty, for the group of our programs.
PATH = Path("/run/chatmail/new-accounts")

# 16 octets each. Of more networks than this at once, those with least to wait for are forgotten.
_SLOTS = 1 << 16
_SLOT_SIZE = 16

_log = logging.getLogger(__name__)

_shared: list[Limiter] = []


def limiter(rules: config.AccountSettings, path: Path | None = None) -> Limiter:
    """As many at once as in a minute. Of the file `path`, else of memory of its own."""
    rate = Rate(rules.new_per_minute, max(1, rules.new_per_minute))
    if path is None:
        return Limiter(rate, _SLOTS, ProcessLock())
    table = SharedTable(path, f"gcra {_SLOTS}", _SLOTS * _SLOT_SIZE)
    return Limiter(rate, _SLOTS, table.lock, table, table.mark)


def share(rules: config.AccountSettings, path: Path = PATH) -> None:
    """Before workers are forked: make the one that `shared` gives each of them."""
    if not path.exists():
        _log.warning("event=limit-not-shared")
    _shared[:] = [limiter(rules, path if path.exists() else None)]


def shared(rules: config.AccountSettings) -> Limiter:
    """The one of all workers; a new one where there are none."""
    return _shared[0] if _shared else limiter(rules)


def network_named(ip: str) -> str | None:
    """`network` of an address as text; None where it is none, as of a program on this host."""
    try:
        return network(ipaddress.ip_address(ip))
    except ValueError:
        return None


def network(peer: Peer) -> str:
    """What is counted as one client: an IPv4 address, or an IPv6 /64, as one customer of a provider has."""
    if isinstance(peer, ipaddress.IPv6Address):
        if peer.ipv4_mapped is not None:
            return str(peer.ipv4_mapped)
        return str(ipaddress.IPv6Network((peer, 64), strict=False).network_address)
    return str(peer)
