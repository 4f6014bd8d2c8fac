"""The relay's DNS client: MX hosts of a domain (RFC 5321, 5.1; RFC 7505) and addresses of a host.

Caches answers for their TTL. Does not check addresses (`allowed_addresses`), and uses no search lists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from secrets import randbelow
from typing import Any, Protocol, TypeVar

import dns.exception
import dns.flags
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from chatmail_milter.config.values import Nameserver
from mxdeliv_app.https.allowed_addresses import IPAddress
from mxdeliv_app.https.event_loop import may_wait

LIFETIME = 5.0  # seconds for a query, with all servers and retries
# Most MX hosts. A hostile domain may list hundreds. smtp(8) tries five addresses (smtp_mx_address_limit).
MAX_MAIL_HOSTS = 16
_CACHED_ANSWERS = 20_000

_Record = TypeVar("_Record")


class NoSuchDomainError(Exception):
    """NXDOMAIN."""


class NullMxError(Exception):
    """The domain accepts no mail (null MX, RFC 7505)."""


class NameTroubleError(Exception):
    """The query failed for now: no response, or none that is usable."""


class HostLookup(Protocol):
    """The DNS lookups that the relay needs; `Resolver` in the daemon."""

    def mail_hosts(self, domain: str) -> tuple[str, ...]: ...

    def addresses(self, host: str) -> list[IPAddress]: ...


class Resolver:
    """A caching stub resolver. Thread-safe. Raises `NameTroubleError` if no server is configured."""

    def __init__(self, nameservers: Sequence[Nameserver] = ()) -> None:
        try:
            self._resolver = dns.resolver.Resolver(configure=not nameservers)
        except dns.resolver.NoResolverConfiguration:
            raise NameTroubleError("no nameserver in /etc/resolv.conf") from None
        if nameservers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(*server.pair) for server in nameservers
            ]
        self._resolver.cache = dns.resolver.LRUCache(_CACHED_ANSWERS)
        self._resolver.lifetime = LIFETIME
        # What answers say, until their TTL is over (POSIX time): the resolver's own cache takes ten times as
        # long, and a message asks four times. Names that don't exist are in that one alone.
        self._held: dict[tuple[str, str], tuple[float, tuple[Any, ...]]] = {}

    def mail_hosts(self, domain: str) -> tuple[str, ...]:
        """MX hosts in order of preference; the domain itself if it has no MX (implicit MX).

        Raises `NoSuchDomainError`, `NullMxError`, `NameTroubleError`.
        """
        answer = self._records(domain, "MX", _exchange)
        # RFC 5321, 5.1: hosts of the same preference in random order, so that they share the load.
        records = sorted((preference, randbelow(1 << 16), exchange) for preference, exchange in answer)
        hosts = [host for _, _, host in records if host not in (".", "@", "")]
        if records and not hosts:
            raise NullMxError
        return tuple(dict.fromkeys(hosts))[:MAX_MAIL_HOSTS] or (domain,)

    def addresses(self, host: str) -> list[IPAddress]:
        """Addresses of `host`, IPv6 first; none if it doesn't exist. Raises `NameTroubleError`."""
        found: list[IPAddress] = []
        trouble: NameTroubleError | None = None
        for kind in ("AAAA", "A"):
            try:
                found += self._records(host, kind, _address)
            except NoSuchDomainError:
                break
            except NameTroubleError as error:
                # Some servers fail only for AAAA. Addresses of one kind are enough.
                trouble = error
        if trouble is not None and not found:
            raise trouble
        return found

    def _records(self, name: str, kind: str, read: Callable[[Any], _Record]) -> tuple[_Record, ...]:
        until, records = self._held.get((name, kind), (0.0, ()))
        if time.time() >= until:
            may_wait()
            answer = self._ask(name, kind)
            records = tuple(map(read, answer))
            if len(self._held) >= _CACHED_ANSWERS:
                self._held.clear()
            self._held[name, kind] = (answer.expiration, records)
        return records

    def _ask(self, name: str, kind: str) -> dns.resolver.Answer:
        try:
            return self._resolver.resolve(
                dns.name.from_text(name), kind, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN:
            raise NoSuchDomainError from None
        except dns.exception.DNSException as error:
            raise NameTroubleError(type(error).__name__) from None


def _exchange(record: Any) -> tuple[int, str]:
    return record.preference, record.exchange.to_text(omit_final_dot=True).lower()


def _address(record: Any) -> IPAddress:
    return ip_address(record.address)
