"""Connects to a target: resolves its name once, checks the addresses, connects to one that was checked.

Addresses are tried as in RFC 8305, simplified: the next one as soon as the previous one has failed or not
answered for `HEAD_START`, so that an unreachable IPv6 address does not delay a message. Never connects to
this host, to which mail would loop (RFC 5321, 5.1 and 6.3).
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import cast

from chatmail_milter.address import ip_literal
from mxdeliv_app.https.allowed_addresses import AllowedAddresses, ForbiddenAddressError, IPAddress
from mxdeliv_app.https.connection import Dial, Target
from mxdeliv_app.https.resolver import HostLookup, NameTroubleError


class OwnHost:
    """This host. `name`: `mail.hostname`, a domain name or a bracketed IP literal.

    Compares names, and addresses in DNS: behind NAT, no interface has the address that peers see. If DNS
    fails, a host counts as another one; the ports for peers refuse mail to other domains anyway.
    """

    def __init__(self, name: str, names: HostLookup) -> None:
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


# Most addresses tried. A hostile domain may list hundreds.
MAX_ADDRESSES = 6
HEAD_START = 0.25  # seconds, RFC 8305, 5: "Connection Attempt Delay"


def dialer(names: HostLookup, guard: AllowedAddresses, own_host: OwnHost, connect_timeout: float) -> Dial:
    """A function that connects to a target: to its pinned address, else to its host's permitted addresses.

    It raises `ForbiddenAddressError` (also for this host itself), `NameTroubleError`, `OSError`.
    """

    def dial(target: Target) -> socket.socket:
        literal = target.pinned or ip_literal(target.host)
        addresses = names.addresses(target.host) if literal is None else [literal]
        permitted = guard.permitted(addresses)
        if not permitted:
            raise NameTroubleError("no address")
        # This host would refuse mail to another domain, as if the peer had refused it.
        if any(map(own_host.has, permitted)):
            raise ForbiddenAddressError
        found = _first(_by_turns(permitted)[:MAX_ADDRESSES], target.port, connect_timeout)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.settimeout(connect_timeout)
        return found

    return dial


def _by_turns(addresses: Sequence[IPAddress]) -> list[IPAddress]:
    """Alternates IPv6 and IPv4, IPv6 first, otherwise in the order of DNS (RFC 8305, 4)."""
    kinds = ([one for one in addresses if one.version == version] for version in (6, 4))
    return [one for one in chain.from_iterable(zip_longest(*kinds)) if one is not None]


def _first(addresses: Sequence[IPAddress], port: int, timeout: float) -> socket.socket:
    """A connection to the first of `addresses` that accepts one in `timeout` seconds. Raises `OSError`."""
    deadline = time.monotonic() + timeout
    waiting = list(addresses)
    failure: OSError = TimeoutError("timed out")
    with selectors.DefaultSelector() as trying, contextlib.ExitStack() as losers:
        while waiting or trying.get_map():
            if waiting:
                try:
                    one = _begin(waiting.pop(0), port)
                except OSError as error:  # no such road from here: no IPv6, say
                    failure = error
                    continue
                losers.callback(one.close)
                trying.register(one, selectors.EVENT_WRITE)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for key, _ in trying.select(min(HEAD_START, left) if waiting else left):
                tried = cast(socket.socket, key.fileobj)
                number = tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                trying.unregister(tried)
                if number == 0:
                    return socket.socket(fileno=os.dup(tried.fileno()))
                failure = OSError(number, os.strerror(number))
    raise failure


def _begin(address: IPAddress, port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    one.setblocking(False)
    number = one.connect_ex((str(address), port))
    if number not in (0, errno.EINPROGRESS):
        one.close()
        raise OSError(number, os.strerror(number))
    return one
