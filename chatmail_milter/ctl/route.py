"""`chatmailctl route`: sends mail for a domain to a target of the operator's choice, whatever DNS says."""

from __future__ import annotations

from dataclasses import asdict

import click

from chatmail_milter.ctl.context import canonical_domain, store
from chatmail_milter.ctl.output import earlier_name, json_option, print_json, print_table
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.routes import Https, Route, RouteError, Routes


@click.group()
def route() -> None:
    """Routes to peers, in force for the next message."""


@route.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all routes."""
    routes = Routes(store()).list()
    if as_json:
        print_json([asdict(one) for one in routes])
        return
    print_table(
        ("Domain", "Target", "HTTPS", "Verify", "One per recipient"),
        [
            (
                one.domain,
                one.target or "by DNS",
                one.https,
                {None: "by rule", True: "yes", False: "no"}[one.verify],
                "yes" if one.one_per_recipient else "no",
            )
            for one in routes
        ],
        "There are no routes.",
    )


@route.command("set")
@click.argument("domain", callback=canonical_domain)
@click.argument("target", required=False)
@click.option(
    "--https",
    type=click.Choice(["prefer", "only", "never"]),
    default="prefer",
    show_default=True,
    help="HTTPS first and then SMTP, only HTTPS, or only SMTP.",
)
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Whether the certificate must be valid. Default: yes, except for an IP literal or a name with `_`.",
)
@click.option(
    "--one-per-recipient",
    is_flag=True,
    help="Send one POST for each recipient, as old versions of madmail need.",
)
def set_(domain: str, target: str | None, https: Https, verify: bool | None, one_per_recipient: bool) -> None:
    """Set or replace the route of DOMAIN.

    TARGET is a host name, an IP address (the certificate must then be valid for DOMAIN), or an https URL. It
    applies only to HTTPS; SMTP uses the MX. Cached facts about HTTPS at DOMAIN are forgotten.
    """
    try:
        wanted = Route(domain, target, https, verify, one_per_recipient)
    except RouteError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from None
    engine = store()
    Routes(engine).set(wanted)
    # A mark is of the way as it was: the next message must not be kept from this one.
    Endpoints(engine).forget(domain)


@route.command()
@click.argument("domain", callback=canonical_domain)
def remove(domain: str) -> None:
    """Remove the route of DOMAIN."""
    engine = store()
    if not Routes(engine).unset(domain):
        raise click.ClickException(f"see `chatmailctl route list`: {domain} has no route")
    Endpoints(engine).forget(domain)


earlier_name(route, "unset", remove)
