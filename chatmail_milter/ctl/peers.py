"""`chatmailctl peers`: how well mail to and from each peer went, by road.

`peers show` has the stored data about one peer, and the mail that waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import click

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.ctl.context import since as lately
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
from chatmail_milter.store import traffic
from chatmail_milter.store.peers import UNPROVEN, PeerRow, Peers
from chatmail_milter.store.routes import Route

# The most of what is asked for comes first; no latency at all comes last.
_ORDERS: Mapping[str, Callable[[PeerRow], Any]] = MappingProxyType(
    {
        "domain": lambda row: (row.domain, row.road),
        "attempts": lambda row: -row.attempts,
        "successes": lambda row: -row.successes,
        "failures": lambda row: -row.failures,
        "mean": lambda row: -(row.mean_latency or 0.0),
        "p50": lambda row: -(row.p50_latency or 0.0),
        "p95": lambda row: -(row.p95_latency or 0.0),
        "last-contact": lambda row: -row.last_contact.timestamp(),
    }
)

_COLUMNS = (
    "Road", "Attempts", "Went well", "Failures", "Mean", "p50", "p95", "Last contact", "Why failed",
)  # fmt: skip


@click.group(invoke_without_command=True)
@click.option(
    "--sort", "order", type=click.Choice(list(_ORDERS)), default="domain", show_default=True,
    help="Sort by this column, largest first.",
)  # fmt: skip
@click.option(
    "--since", metavar="DURATION", default="1d", show_default=True, callback=lately,
    help="Time that the first columns count, in whole hours: `1h`, `7d`.",
)  # fmt: skip
@json_option
@click.pass_context
def peers(context: click.Context, order: str, since: datetime, as_json: bool) -> None:
    """Show attempts, successes, failures and latency per peer and road.

    The roads https and smtp are deliveries to the peer, inbound is mail from the peer. The first columns
    count the last day (or --since), the others all the time since the first contact; a peer without contact
    for 90 days is dropped. Latencies are of successes; p50 and p95 are within 9.1 %. The row (unproven)
    counts refused mail whose domain was not proved. `chatmailctl reasons` explains the reasons.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"say --json after {context.invoked_subcommand}")
        return
    engine = store()
    rows = sorted(Peers(engine).list(), key=_ORDERS[order])
    recent = traffic.by_peer(engine, since)
    if as_json:
        print_json([_as_json(row, since, recent.get((row.domain, row.road), (0, 0))) for row in rows])
        return
    hours = (datetime.now(UTC) - since).total_seconds() / 3600
    print_table(
        ("Domain", "Road", "Lately", "An hour", "Went well", "In all", "Went well", *_COLUMNS[4:]),
        [
            (
                row.domain,
                row.road,
                str(lately),
                f"{lately / hours:.1f}",
                percent(well, lately),
                str(row.attempts),
                percent(row.successes, row.attempts),
                *_cells(row)[4:],
            )
            for row in rows
            for lately, well in (recent.get((row.domain, row.road), (0, 0)),)
        ],
        "No peer has been contacted yet.",
    )


def _as_json(row: PeerRow, since: datetime, lately: tuple[int, int]) -> dict[str, Any]:
    attempts, successes = lately
    share = successes / attempts if attempts else None
    return asdict(row) | {
        "recent": {"since": since, "attempts": attempts, "successes": successes, "share": share}
    }


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
    print_table(_COLUMNS, [_cells(row) for row in peer.roads], "No mail was exchanged yet.")
    click.echo()
    for name, text in _lines(peer, queue):
        click.echo(f"{name:9}{text}")
    click.echo()
    print_table(
        ("When", "Road", "Reason", "Its words"),
        [(ago(one.at), one.road, one.reason, one.words or "-") for one in peer.errors],
        "No failed deliveries to it in the last days.",
    )


def _cells(row: PeerRow) -> Sequence[str]:
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


peers.add_command(show)
