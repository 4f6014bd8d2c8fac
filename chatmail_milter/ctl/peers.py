"""`chatmailctl peers`: how each peer was reached, and by which road."""

from __future__ import annotations

from dataclasses import asdict

import click

from chatmail_milter.ctl.opened import store
from chatmail_milter.ctl.output import ago, counts, json_option, print_json, print_table
from chatmail_milter.store.peers import Peers


@click.command()
@json_option
def peers(as_json: bool) -> None:
    """Attempts, successes and mean latency per peer and road.

    https and smtp are our deliveries to the peer, inbound is theirs to us. A latency is of successes.
    """
    rows = Peers(store()).list()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("Domain", "Road", "Attempts", "Successes", "Failures", "Mean latency", "Last contact", "Why failed"),
        [
            (
                row.domain,
                row.road,
                str(row.attempts),
                str(row.successes),
                str(row.failures),
                "-" if row.mean_latency is None else f"{row.mean_latency * 1000:.0f} ms",
                ago(row.last_contact),
                counts(row.reasons),
            )
            for row in rows
        ],
        "No peer has been contacted yet.",
    )
