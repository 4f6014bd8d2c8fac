"""`chatmailctl peers show`: the stored data about one peer, and the mail that waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import click

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.ctl.context import store
from chatmail_milter.ctl.endpoints import in_words
from chatmail_milter.ctl.output import (
    ago,
    counts,
    json_option,
    milliseconds,
    percent,
    print_json,
    print_table,
    size,
)
from chatmail_milter.ctl.postqueue import Postqueue
from chatmail_milter.figures.peers import KnownPeer
from chatmail_milter.figures.peers import peer as known_peer
from chatmail_milter.store.peers import UNPROVEN, PeerRow
from chatmail_milter.store.routes import Route

COLUMNS = (
    "Road", "Attempts", "Went well", "Failures", "Mean", "p50", "p95", "Last contact", "Why failed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PeerQueue:
    """Messages in this host's queue for a peer. `size` in octets."""

    messages: int
    size: int
    oldest: datetime | None


def _domain(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value == UNPROVEN:
        return value
    try:
        return address.domain(value)
    except MalformedAddressError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("domain", callback=_domain)
@json_option
def show(domain: str, as_json: bool) -> None:
    """Show the data about the peer DOMAIN, and its last refusals and errors in its own words."""
    peer, queue = known_peer(store(), domain, (), datetime.now(UTC)), _waiting(domain)
    if not (peer.roads or peer.endpoint or peer.hosts or peer.route or (queue and queue.messages)):
        raise click.ClickException(f"see `chatmailctl peers`: nothing is known of {domain}")
    if as_json:
        found = asdict(peer) | {"queue": asdict(queue) if queue else None}
        del found["restrictions"]
        print_json(found)
        return
    print_table(COLUMNS, [cells(row) for row in peer.roads], "No mail was exchanged yet.")
    click.echo()
    for name, text in _lines(peer, queue):
        click.echo(f"{name:9}{text}")
    click.echo()
    print_table(
        ("When", "Road", "Reason", "Its words"),
        [(ago(one.at), one.road, one.reason, one.words or "-") for one in peer.errors],
        "No failed deliveries to it in the last days.",
    )


def cells(row: PeerRow) -> Sequence[str]:
    """A peer's figures by one road, under `_COLUMNS`."""
    return (
        row.road,
        str(row.attempts),
        percent(row.successes, row.attempts),
        str(row.failures),
        milliseconds(row.mean_latency),
        milliseconds(row.p50_latency),
        milliseconds(row.p95_latency),
        ago(row.last_contact),
        counts(row.reasons),
    )


def _waiting(domain: str) -> PeerQueue | None:
    postqueue = Postqueue.open()
    if postqueue is None:
        return None
    found = [one for one in postqueue.list() if domain in one.domains]
    return PeerQueue(len(found), sum(one.size for one in found), found[0].arrived if found else None)


def _lines(peer: KnownPeer, queue: PeerQueue | None) -> Iterator[tuple[str, str]]:
    known = peer.endpoint
    worked = f"{known.host} took it {ago(known.worked)}" if known and known.host else "no host has taken it"
    failed = f"; failures since: {known.failures}, last {known.reason}" if known and known.failures else ""
    mark = f"; not tried until {_when(peer.no_https_until)}" if peer.no_https_until else ""
    yield "HTTPS", worked + failed + mark
    for host in peer.hosts:
        yield "Host", "; ".join(in_words(host, datetime.now(UTC)))
    until = peer.breaker_open_until
    yield "Breaker", f"open until {_when(until)} at the latest" if until else "closed"
    yield "Route", "by DNS" if peer.route is None else _route(peer.route)
    if queue is None:
        yield "Queue", "not on this host"
    else:
        oldest = f", the oldest since {ago(queue.oldest)}" if queue.oldest else ""
        yield "Queue", f"messages: {queue.messages}, {size(queue.size)}{oldest}"


def _route(route: Route) -> str:
    verify = {None: "", True: ", verified", False: ", not verified"}[route.verify]
    single = ", one POST per recipient" if route.one_per_recipient else ""
    return f"{route.target or 'by DNS'}, HTTPS {route.https}{verify}{single}"


def _when(then: datetime) -> str:
    return f"{then:%H:%M:%S} UTC ({ago(then)})"
