"""Figures of each peer by road: attempts, latencies, waiting mail and restrictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from chatmail_milter.figures.waiting import Destination, Queued, queue
from chatmail_milter.store import traffic
from chatmail_milter.store.endpoint_hosts import EndpointHosts, HostState
from chatmail_milter.store.endpoints import Endpoint, Endpoints
from chatmail_milter.store.peer_trouble import Breakers, PeerError, last_errors, last_of_all
from chatmail_milter.store.peers import UNPROVEN, PeerRow, Peers
from chatmail_milter.store.policies import Policies
from chatmail_milter.store.routes import Route, Routes
from chatmail_milter.verdict import Action

RECENT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """A peer by one road. `recent_*` count the last day, all others the time since the first contact.

    `queued`: messages that wait for it, None if the queue can't be read. `restrictions`: slugs of
    `restrictions`. `last_failure`: of a delivery to the peer, in its own words. `failing`: whether more
    attempts failed than succeeded in the last day.
    """

    domain: str
    road: str
    last_contact: datetime
    attempts: int
    successes: int
    failures: int
    share: float | None
    mean: float | None
    p50: float | None
    p95: float | None
    reasons: Mapping[str, int]
    recent_attempts: int
    recent_successes: int
    queued: int | None
    restrictions: tuple[str, ...]
    last_failure: PeerError | None
    failing: bool


def peers(engine: Engine, queued: Mapping[str, int] | None, now: datetime) -> list[PeerFigures]:
    """All peers by domain and road. `queued`: messages that wait by domain."""
    rows = Peers(engine).list()
    recent = traffic.by_peer(engine, now - RECENT)
    failures = last_of_all(engine, now)
    held = restrictions(engine, {row.domain for row in rows}, now)
    return [
        _figures(
            row,
            recent.get((row.domain, row.road), (0, 0)),
            None if queued is None else queued.get(row.domain, 0),
            held.get(row.domain, ()),
            failures.get((row.domain, row.road)),
        )
        for row in rows
    ]


def restrictions(engine: Engine, domains: set[str], now: datetime) -> dict[str, tuple[str, ...]]:
    """The restrictions of mail for `domains`; domains without any are left out.

    `blocked` (blocklist), `federation` (the rule in force), `breaker` (several attempts hang), `no-https`
    (HTTPS failed and is suspended), `route` (the operator's).
    """
    policy = Policies(engine).current()
    found: dict[str, list[str]] = {}
    for domain in domains - {UNPROVEN}:
        verdict = policy.outgoing(domain)
        if verdict.action is not Action.PASS:
            blocked = policy.blocklist.has_domain(domain)
            found.setdefault(domain, []).append("blocked" if blocked else "federation")
    marked = [one.domain for one in Endpoints(engine).list() if one.marked(now)]
    routed = [one.domain for one in Routes(engine).list()]
    for slug, those in (("breaker", Breakers(engine).open(now)), ("no-https", marked), ("route", routed)):
        for domain in domains.intersection(those):
            found.setdefault(domain, []).append(slug)
    return {domain: tuple(slugs) for domain, slugs in found.items()}


def _figures(
    row: PeerRow,
    recent: Sequence[int],
    queued: int | None,
    held: tuple[str, ...],
    failure: PeerError | None,
) -> PeerFigures:
    return PeerFigures(
        domain=row.domain,
        road=row.road,
        last_contact=row.last_contact,
        attempts=row.attempts,
        successes=row.successes,
        failures=row.failures,
        share=row.successes / row.attempts if row.attempts else None,
        mean=row.mean_latency,
        p50=row.p50_latency,
        p95=row.p95_latency,
        reasons=row.reasons,
        recent_attempts=recent[0],
        recent_successes=recent[1],
        queued=queued,
        restrictions=held,
        last_failure=failure,
        failing=recent[0] > 2 * recent[1],
    )


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
