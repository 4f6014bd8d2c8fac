"""`chatmailctl peers`: how well mail to and from each peer went, by road."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import click

from chatmail_milter.ctl.context import since as lately
from chatmail_milter.ctl.context import store
from chatmail_milter.ctl.output import json_option, percent, print_json, print_table
from chatmail_milter.ctl.peer import COLUMNS, cells, show
from chatmail_milter.store import traffic
from chatmail_milter.store.peers import PeerRow, Peers

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
        ("Domain", "Road", "Lately", "An hour", "Went well", "In all", "Went well", *COLUMNS[4:]),
        [
            (
                row.domain,
                row.road,
                str(lately),
                f"{lately / hours:.1f}",
                percent(well, lately),
                str(row.attempts),
                percent(row.successes, row.attempts),
                *cells(row)[4:],
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


peers.add_command(show)
