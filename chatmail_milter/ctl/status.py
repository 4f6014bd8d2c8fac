"""`chatmailctl status`: the relay on one screen, from `figures` and `doctor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import click

from chatmail_milter.config import load_or_exit
from chatmail_milter.ctl.context import store
from chatmail_milter.ctl.doctor import CHECKS
from chatmail_milter.ctl.output import (
    ago,
    json_option,
    milliseconds,
    percent,
    print_json,
    print_table,
    size,
)
from chatmail_milter.ctl.postqueue import Postqueue, QueueEntry
from chatmail_milter.doctor import Finding, FindingState, machine, queue, services, sockets
from chatmail_milter.figures.overview import Overview, overview
from chatmail_milter.figures.traffic import SPANS, Flow, Traffic, flow
from chatmail_milter.figures.waiting import QueueAwayError
from chatmail_milter.store.contacts import Sum

# What is found without DNS and the network, which take seconds; of the store `figures` says what is wrong.
_LOCAL = (services.SUBJECT, sockets.SUBJECT, machine.SUBJECT, queue.SUBJECT)
_WAYS: Mapping[str, str] = MappingProxyType(
    {
        "submission": "from users",
        "out-https": "to peers, HTTPS",
        "out-smtp": "to peers, SMTP",
        "in-mxdeliv": "from peers, HTTPS",
        "in-smtp": "from peers, SMTP",
    }
)


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show the relay on one screen.

    Services, traffic of this hour and of the last day, queue, accounts, disks, and the number of findings of
    `doctor` without DNS and certificates. Run it as root. Exit status 1 if something could not be checked.
    """
    now = datetime.now(UTC)
    config = load_or_exit()
    found = overview(config, store, _waiting, SPANS["day"], now)
    findings = [one for name in _LOCAL for one in CHECKS[name](config)]
    if as_json:
        print_json(_as_json(found, findings))
    else:
        _print(found, findings)
    if found.missing:
        raise click.exceptions.Exit(1)


def _waiting() -> Sequence[QueueEntry]:
    postqueue = Postqueue.open()
    if postqueue is None:
        raise QueueAwayError("run this on the relay itself: there is no postqueue here")
    try:
        return postqueue.list()
    except click.ClickException as error:
        raise QueueAwayError(error.message) from None


def _hour(traffic: Traffic) -> Mapping[str, Flow]:
    """The current hour."""
    return traffic.pieces[-1].flows


def _as_json(found: Overview, findings: Sequence[Finding]) -> dict[str, Any]:
    states = [one.state for one in findings]
    return {
        "domain": found.domain,
        "at": found.at,
        "services": {one.what: one.found for one in findings if one.subject == services.SUBJECT},
        "findings": {state.value: states.count(state) for state in FindingState},
        "traffic": None
        if found.traffic is None
        else {
            "day": {way: asdict(one) for way, one in found.traffic.total.items()},
            "hour": {way: asdict(_hour(found.traffic).get(way, _NONE)) for way in found.traffic.total},
        },
        "queue": None if found.queue is None else asdict(found.queue),
        "accounts": None if found.accounts is None else asdict(found.accounts),
        "disks": [asdict(one) for one in found.disks],
        "missing": found.missing,
    }


def _print(found: Overview, findings: Sequence[Finding]) -> None:
    click.echo(f"{found.domain}, {found.at:%Y-%m-%d %H:%M:%S} UTC\n")
    if found.traffic is not None:
        _print_traffic(found.traffic)
    of_services = [one for one in findings if one.subject == services.SUBJECT]
    ill = [one for one in of_services if one.state is not FindingState.GOOD]
    rows = [("Services", _services(of_services, ill))]
    if found.queue is not None:
        waits = found.queue
        by_queue = ", ".join(f"{name} {number}" for name, number in waits.by_queue.items()) or "empty"
        oldest = f"; {size(waits.size)}, the oldest came {ago(waits.oldest)}" if waits.oldest else ""
        rows.append(("Queue", by_queue + oldest))
    if found.accounts is not None:
        some = found.accounts
        rows.append(
            (
                "Accounts",
                f"{some.number}; used: day {some.used_day}, week {some.used_week}, month {some.used_month}; "
                f"made this week {some.made_week}; suspended {some.suspended}",
            )
        )
    rows += [
        ("Disk", f"{one.place}: {size(one.free)} of {size(one.size)} free, {one.used_share:.0%} used")
        for one in found.disks
    ]
    rows += [(f"No {name}", advice) for name, advice in found.missing.items()]
    rows.append(("Findings", _findings(findings)))
    for name, text in rows:
        click.echo(f"{name:12}{text}")


def _print_traffic(traffic: Traffic) -> None:
    hour = _hour(traffic)
    passed = (datetime.now(UTC) - traffic.pieces[-1].at).total_seconds() / 3600
    print_table(
        ("Messages", "This hour", "Went well", "Last day", "An hour", "Went well", "p50", "p95"),
        [
            (
                _WAYS.get(way, way),
                str(hour.get(way, _NONE).attempts),
                percent(hour.get(way, _NONE).successes, hour.get(way, _NONE).attempts),
                str(day.attempts),
                f"{day.attempts / (23 + passed):.1f}",
                percent(day.successes, day.attempts),
                milliseconds(day.p50),
                milliseconds(day.p95),
            )
            for way, day in traffic.total.items()
        ],
        "",
    )
    click.echo()


def _services(of_services: Sequence[Finding], ill: Sequence[Finding]) -> str:
    if not ill:
        return f"all {len(of_services)} run"
    return "; ".join(f"{one.what} {one.found}" for one in ill)


def _findings(findings: Sequence[Finding]) -> str:
    states = [one.state for one in findings]
    wrong = [
        f"{state.value} {states.count(state)}" for state in FindingState if state is not FindingState.GOOD
    ]
    if all(state is FindingState.GOOD for state in states):
        return "none; `chatmailctl doctor` also looks at DNS, certificates and ports"
    return ", ".join(wrong) + "; see `chatmailctl doctor`"


_NONE = flow(Sum())
