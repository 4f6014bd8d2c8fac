"""Connects to a host in two steps, DNS and TCP.

Only to addresses that the relay itself may connect to (`https.allowed_addresses`), and never to this host,
whose answers say nothing about a peer.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from chatmail_milter.address import ip_literal
from mxdeliv_app.https.allowed_addresses import AllowedAddresses, ForbiddenAddressError, IPAddress
from mxdeliv_app.https.dial import OwnHost
from mxdeliv_app.https.resolver import NameTroubleError, Resolver
from mxdeliv_app.probe.steps import FailedError, ProbeAttempt, TimeLimit


@dataclass(frozen=True, slots=True)
class Network:
    """The means to resolve names and connect.

    `timeout`: seconds for a connection, and for silence. `limit`: for each step, and for all of them.
    """

    names: Resolver
    guard: AllowedAddresses
    own_host: OwnHost
    timeout: float
    limit: TimeLimit

    def connect(
        self, attempt: ProbeAttempt, host: str, port: int, pinned: IPAddress | None = None
    ) -> socket.socket:
        """A connection to the first address that accepts one, guarded by `limit`. Raises `FailedError`."""
        addresses = self._addresses(attempt, host, pinned)
        with attempt.step("connect", (OSError,), self.limit) as step:
            found, failures = self._first(addresses, port)
            self.limit.guard(found)
            step.found = ", ".join([*failures, str(found.getpeername()[0])])
            return found

    def _addresses(self, attempt: ProbeAttempt, host: str, pinned: IPAddress | None) -> Sequence[IPAddress]:
        with attempt.step("DNS", (NameTroubleError,), self.limit) as step:
            literal = pinned or ip_literal(host)
            addresses = self.names.addresses(host) if literal is None else [literal]
            step.found = ", ".join(map(str, addresses))
            if not addresses:
                step.error = f"{host} has no address"
                raise FailedError
            try:
                permitted = self.guard.permitted(addresses)
            except ForbiddenAddressError:
                step.error = "no public address, and relay.allow_networks names none of these"
                raise FailedError from None
            if any(map(self.own_host.has, permitted)):
                step.error = "this is our own host"
                raise FailedError
            return permitted

    def _first(self, addresses: Sequence[IPAddress], port: int) -> tuple[socket.socket, list[str]]:
        """The connection, and the addresses that failed. Raises `OSError` if all did."""
        failures: list[str] = []
        deadline = time.monotonic() + min(2 * self.timeout, self.limit.left)
        for address in addresses:
            try:
                return socket.create_connection((str(address), port), self._connect_timeout()), failures
            except OSError as error:
                failures.append(f"{address}: {error.strerror or error}")
                if time.monotonic() > deadline:
                    break
        raise OSError("; ".join(failures))

    def _connect_timeout(self) -> float:
        # A timeout of 0 would be a socket that does not wait.
        return max(0.001, min(self.timeout, self.limit.left))
