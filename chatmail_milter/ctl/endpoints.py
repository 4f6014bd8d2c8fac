"""`chatmailctl endpoints`: which host of a domain took HTTPS, and which domains have none for now."""

from __future__ import annotations

from dataclasses import asdict

import click

from chatmail_milter.ctl.opened import canonical_domain, store
from chatmail_milter.ctl.output import ago, json_option, print_json, print_table
from chatmail_milter.store.endpoints import Endpoints


@click.group()
def endpoints() -> None:
    """What was learnt of peers' HTTPS."""


@endpoints.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All domains of which something is known."""
    known = Endpoints(store()).list()
    if as_json:
        print_json([asdict(one) for one in known])
        return
    print_table(
        ("Domain", "Host", "Worked", "Failures since", "HTTPS tried again", "Last failure"),
        [
            (
                one.domain,
                one.host or "-",
                ago(one.worked),
                str(one.failures),
                "now" if one.no_https_until is None else ago(one.no_https_until),
                one.reason or "-",
            )
            for one in known
        ],
        "Nothing is known yet.",
    )


@endpoints.command()
@click.argument("domain", required=False, callback=canonical_domain)
@click.option("--all", "everything", is_flag=True, help="Forget all domains.")
def forget(domain: str | None, everything: bool) -> None:
    """Forget what is known of DOMAIN: its next message tries HTTPS again."""
    if (domain is None) != everything:
        raise click.UsageError("name one domain, or say --all")
    number = Endpoints(store()).forget(domain)
    click.echo(f"Forgot {number} domain{'' if number == 1 else 's'}.")
