"""The data about one peer: roads, hosts, restrictions and waiting mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from chatmail_milter.figures.peers import restrictions
from chatmail_milter.figures.waiting import Destination, Queued, queue
from chatmail_milter.store.breakers import Breakers
from chatmail_milter.store.endpoint_hosts import EndpointHosts, HostState
from chatmail_milter.store.endpoints import Endpoint, Endpoints
from chatmail_milter.store.errors import PeerError, last_errors
from chatmail_milter.store.peers import PeerRow, Peers
from chatmail_milter.store.routes import Route, Routes


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """The data. Times are the ends of restrictions, None without one; `queue` is None if no mail waits."""

    domain: str
    roads: list[PeerRow]
    endpoint: Endpoint | None
    hosts: list[HostState]
    route: Route | None
    no_https_until: datetime | None
    breaker_open_until: datetime | None
    restrictions: tuple[str, ...]
    queue: Destination | None
    errors: list[PeerError]

    @property
    def known(self) -> bool:
        """Whether there are any data."""
        return bool(
            self.roads or self.endpoint or self.hosts or self.route or self.queue or self.restrictions
        )


def peer(engine: Engine, domain: str, messages: Sequence[Queued], now: datetime) -> KnownPeer:
    """The data about a peer. `messages`: those in the queue."""
    endpoint = Endpoints(engine).get(domain)
    found = queue([one for one in messages if domain in one.domains]).destinations
    return KnownPeer(
        domain=domain,
        roads=Peers(engine).list(domain),
        endpoint=endpoint,
        hosts=[one for one in EndpointHosts(engine).of(domain).values() if one.holds(now)],
        route=Routes(engine).get(domain),
        no_https_until=endpoint.no_https_until if endpoint and endpoint.marked(now) else None,
        breaker_open_until=Breakers(engine).open_until(domain, now),
        restrictions=restrictions(engine, {domain}, now).get(domain, ()),
        queue=next((one for one in found if one.domain == domain), None),
        errors=last_errors(engine, domain, now),
    )
