"""`chatmailctl doctor`: finds what is wrong with this relay; says why it matters and how to fix it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
from dns.exception import DNSException
from dns.rdatatype import AAAA, MX, A
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.config import Config, load_or_exit
from chatmail_milter.ctl.calls import is_turn_server
from chatmail_milter.ctl.output import json_option, print_json, print_table
from chatmail_milter.ctl.postqueue import Postqueue
from chatmail_milter.doctor import (
    Finding,
    FindingState,
    aliases,
    certificates,
    files,
    machine,
    optional_records,
    outbound,
    outside,
    ports,
    queue,
    records,
    services,
    sockets,
    store,
    unknown,
    versions,
)
from chatmail_milter.store.engine import existing_store
from chatmail_milter.store.peers import Peers
from chatmail_milter.store.sanitize import printable

POSTFIX = Path("/var/spool/postfix")
# Seconds for all checks. `network` limits each look, but DNS may name any number of hosts to look at.
WHOLE = 300.0
_WORST_FIRST = (FindingState.BAD, FindingState.SOON, FindingState.UNKNOWN, FindingState.GOOD)


def _queue(_config: Config) -> Iterator[Finding]:
    postqueue = Postqueue.open()
    try:
        yield from queue.check(None if postqueue is None else postqueue.list())
    except click.ClickException as error:
        yield unknown(queue.SUBJECT, "all", error.message)


def _certificates(config: Config) -> Iterator[Finding]:
    exchanges = [str(one.exchange).rstrip(".") for one in _wanted(MX)]
    yield from certificates.check([config.mail.domain, config.mail.host], exchanges)


def _dns(config: Config) -> Iterator[Finding]:
    yield from records.check()
    for exchange in [str(one.exchange).rstrip(".") for one in _wanted(MX)]:
        yield from optional_records.check(config.mail.domain, exchange)
    addresses = [str(one.address) for kind in (A, AAAA) for one in _wanted(kind)]
    yield from records.check_reverse(config.mail.host, sorted({*addresses}), records.reverse)


def _peers(config: Config) -> list[str]:
    """The domains that took mail of this relay last; none if the store can't be used."""
    try:
        found = Peers(existing_store(config.store.url)).list()
    except SQLAlchemyError:
        return []
    took = [one for one in found if one.road != "inbound" and one.successes]
    took.sort(key=lambda one: one.last_contact, reverse=True)
    return [*dict.fromkeys(one.domain for one in took)][: outbound.MOST]


def _files(_config: Config) -> Iterator[Finding]:
    yield from files.check_written()
    yield from files.check_unread()


def _machine(config: Config) -> Iterator[Finding]:
    yield from machine.check_clock()
    places = [Path("/"), POSTFIX, Path(config.store.mail)]
    if config.store.file is not None:
        places.append(config.store.file.parent)
    yield from machine.check_disks(places)


def _wanted(kind: int) -> list[Any]:
    """The records of one type to publish; none if the file can't be read, which `records` reports."""
    try:
        return [record for one in records.read() if one.rdtype == kind for record in one]
    except (OSError, UnicodeDecodeError, DNSException):
        return []


CHECKS: dict[str, Callable[[Config], Iterator[Finding]]] = {
    services.SUBJECT: lambda config: services.check(calls=is_turn_server(config)),
    store.SUBJECT: lambda config: store.check(config.store.url),
    ports.SUBJECT: lambda _: ports.check(),
    sockets.SUBJECT: lambda _: sockets.check(),
    certificates.SUBJECT: _certificates,
    records.SUBJECT: _dns,
    machine.SUBJECT: _machine,
    queue.SUBJECT: _queue,
    aliases.SUBJECT: lambda config: aliases.check(config.mail.chat_domains),
    outbound.SUBJECT: lambda config: outbound.check(_peers(config)),
    files.SUBJECT: _files,
    versions.SUBJECT: lambda _: versions.check(),
}
OUTSIDE: dict[str, Callable[[str, list[str]], Iterator[Finding]]] = {
    ports.SUBJECT: outside.check_ports,
    certificates.SUBJECT: outside.check_certificates,
    records.SUBJECT: outside.check_records,
    outside.MXDELIV: lambda domain, exchanges: outside.check_mxdeliv([domain, *exchanges]),
}


_clock: Callable[[], float] = time.monotonic


def _checks(of: str | None, others: Sequence[str]) -> dict[str, Callable[[], Iterator[Finding]]]:
    if of is not None:
        exchanges = outside.exchanges(of)
        return {name: partial(look, of, exchanges) for name, look in OUTSIDE.items()}
    config = load_or_exit()
    checks = CHECKS | ({outbound.SUBJECT: lambda _: outbound.check(others)} if others else {})
    return {name: partial(check, config) for name, check in checks.items()}


def _findings(checks: Mapping[str, Callable[[], Iterator[Finding]]]) -> Iterator[Finding]:
    """What the checks find within `WHOLE`."""
    end, late = _clock() + WHOLE, False
    for name, check in checks.items():
        for one in check():
            if late:
                yield unknown(name, "all", f"not checked after {WHOLE:g} s: try --only {name}")
                return
            yield one
            late = _clock() > end


def _domain(value: str) -> str:
    try:
        return address.domain(value)
    except MalformedAddressError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option(
    "--only",
    metavar="SUBJECT",
    type=click.Choice([*CHECKS, outside.MXDELIV]),
    multiple=True,
    help=f"Check only this subject; repeatable: {', '.join(CHECKS)}.",
)
@click.option(
    "--of",
    metavar="DOMAIN",
    type=_domain,
    help="Check another host, the relay of this domain, as clients and peers see it"
    f" ({', '.join(OUTSIDE)}); needs no configuration here.",
)
@click.option(
    "--outbound",
    "others",
    metavar="DOMAIN",
    type=_domain,
    multiple=True,
    help="Check outbound ports at this domain's hosts, not at those of peers that took mail; repeatable.",
)
@click.option("--all", "everything", is_flag=True, help="Also show checks without findings.")
@json_option
def doctor(
    only: tuple[str, ...], of: str | None, others: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Find what is wrong with this relay, and how to fix it.

    Run it as root, on the relay; with `--of`, on any other host. It changes nothing. After five minutes it
    ends, and names the subject that is not checked. Exit status: 0 nothing to do, 1 something to do, 3
    something could not be checked.
    """
    if of is not None and others:
        raise click.UsageError("--outbound: only on the relay itself, so not with --of.")
    checks = _checks(of, others)
    if not {*only} <= checks.keys():
        where = "on the relay" if of is None else "with --of"
        raise click.UsageError(f"--only: subjects {where} are {', '.join(checks)}.")
    found = list(_findings({name: check for name, check in checks.items() if not only or name in only}))
    found.sort(key=lambda one: _WORST_FIRST.index(one.state))
    if as_json:
        print_json([{**asdict(one), "state": one.state.value} for one in found])
    else:
        _print(found, everything)
    states = {one.state for one in found}
    sys.exit(
        1 if states & {FindingState.BAD, FindingState.SOON} else 3 if FindingState.UNKNOWN in states else 0
    )


def _print(found: list[Finding], everything: bool) -> None:
    shown = found if everything else [one for one in found if one.state is not FindingState.GOOD]
    for one in shown:
        if one.state is FindingState.GOOD:
            continue
        # DNS and the queue have strangers' words.
        click.echo(printable(f"{one.state.value}: {one.subject}, {one.what}: {one.found}"))
        click.echo(f"    why:  {one.why}")
        if one.mend:
            click.echo(f"    fix:  {printable(one.mend)}")
    if everything:
        rows = [(one.subject, one.what, one.found) for one in shown if one.state is FindingState.GOOD]
        print_table(("Good", "What", "Found"), rows, "No check is without findings.")
    good = sum(one.state is FindingState.GOOD for one in found)
    click.echo(f"Good: {good} of {len(found)}." + ("" if everything else " `--all` shows them."))
