"""`chatmailctl peers`: how each peer was reached, and by which road."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import click

from chatmail_milter.ctl.context import store
from chatmail_milter.ctl.output import json_option, print_json, print_table
from chatmail_milter.ctl.peer import COLUMNS, cells, show
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
    help="What to put first the most of.",
)  # fmt: skip
@json_option
@click.pass_context
def peers(context: click.Context, order: str, as_json: bool) -> None:
    """Attempts, successes, failures and latency per peer and road.

    https and smtp are our deliveries to the peer, inbound is theirs to us. A latency is of successes; p50 and
    p95 are within 9.1 %. What was refused to nobody in particular is counted under (unproven).
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"say --json after {context.invoked_subcommand}")
        return
    rows = sorted(Peers(store()).list(), key=_ORDERS[order])
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("Domain", *COLUMNS),
        [(row.domain, *cells(row)) for row in rows],
        "No peer has been contacted yet.",
    )


peers.add_command(show)
