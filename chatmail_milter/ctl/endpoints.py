"""`chatmailctl endpoints`: which host of each domain accepts HTTPS, and where HTTPS is suspended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

import click

from chatmail_milter.ctl.context import canonical_domain, store
from chatmail_milter.ctl.output import ago, json_option, print_json, print_table, size
from chatmail_milter.store.endpoint_hosts import EndpointHosts, HostState
from chatmail_milter.store.endpoints import Endpoint, Endpoints


@click.group()
def endpoints() -> None:
    """What the relay remembers about HTTPS at peers.

    For each domain: the host that took mail last, and after failures, until when mail goes by SMTP only.
    """


@endpoints.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all domains of which something is cached."""
    engine, now = store(), datetime.now(UTC)
    hosts = EndpointHosts(engine).all(now)
    known = Endpoints(engine).list()
    # Domains for which the store has host proofs only, and no delivery yet.
    others = sorted(hosts.keys() - {one.domain for one in known})
    known += [Endpoint(domain, None, None, 0, None, None) for domain in others]
    if as_json:
        print_json([asdict(one) | {"hosts": list(map(asdict, hosts.get(one.domain, [])))} for one in known])
        return
    print_table(
        ("Domain", "Host", "Worked", "Failures since", "HTTPS tried again", "Last failure", "Hosts"),
        [
            (
                one.domain,
                one.host or "-",
                ago(one.worked),
                str(one.failures),
                "now" if one.no_https_until is None else ago(one.no_https_until),
                one.reason or "-",
                "; ".join(words for host in hosts.get(one.domain, []) for words in in_words(host, now))
                or "-",
            )
            for one in known
        ],
        "No facts are cached.",
    )


def in_words(host: HostState, now: datetime) -> Iterator[str]:
    """The cached facts about one host, as text."""
    if host.proven(now):
        yield f"{host.host} proved to be a chatmail server; tested again {ago(host.proven_until)}"
    elif host.disproven(now):
        until = ago(host.disproven_until)
        yield f"{host.host} accepts everything, so it is not a chatmail server; tested again {until}"
    else:
        yield f"{host.host} has not proved yet that it is a chatmail server"
    if host.size_limit is not None and host.limits(host.size_limit, now):
        until = ago(host.limited_until)
        yield f"{host.host} refuses {size(host.size_limit)} and more: by SMTP, tried again {until}"


@endpoints.command()
@click.argument("domain", required=False, callback=canonical_domain)
@click.option("--all", "everything", is_flag=True, help="Forget all domains.")
def forget(domain: str | None, everything: bool) -> None:
    """Forget the cached facts about DOMAIN: its next message tries HTTPS again."""
    if (domain is None) != everything:
        raise click.UsageError("name one domain, or say --all")
    number = Endpoints(store()).forget(domain)
    click.echo(f"Forgot {number} domain{'' if number == 1 else 's'}.")
