"""`chatmailctl federation`: the domains with which mail is exchanged. In force when the command returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import click

from chatmail_milter.config import load_or_exit
from chatmail_milter.ctl.context import store
from chatmail_milter.ctl.output import json_option, print_json
from chatmail_milter.rules.blocklist import MalformedEntryError, domain_entry
from chatmail_milter.rules.policy import Federation, Rule
from chatmail_milter.store.policies import Federations


def _domains(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    try:
        return [domain_entry(value) for value in values]
    except MalformedEntryError as error:
        raise click.BadParameter(str(error)) from None


_domains_argument = click.argument("domains", metavar="DOMAIN...", nargs=-1, required=True, callback=_domains)


@click.group()
def federation() -> None:
    """Choose the domains with which this relay exchanges mail.

    The rule is either open (all domains, except some) or closed (none, except some). A DOMAIN is a name
    (example.org), all its subdomains but not itself (.example.org), or an IP literal ([192.0.2.1]). Each rule
    has its own exceptions.
    """


@federation.command()
@json_option
def show(as_json: bool) -> None:
    """Show the rule in force and its exceptions."""
    found = Federations(store()).get()
    if as_json:
        print_json({"rule": found.rule, "exceptions": sorted(found.exceptions)})
    else:
        _say(found)


@federation.command("open")
def open_() -> None:
    """Exchange mail with every domain except the exceptions."""
    _say(Federations(store()).set_rule("open"))


@federation.command()
def closed() -> None:
    """Exchange mail with no domain except the exceptions."""
    _say(Federations(store()).set_rule("closed"))


@federation.command()
@_domains_argument
def add(domains: list[str]) -> None:
    """Add each DOMAIN to the exceptions of the rule in force.

    With `open`, no mail is exchanged with it any more; with `closed`, mail is exchanged with it from now on.
    """
    federations = Federations(store())
    if load_or_exit().mail.domain in domains:
        raise click.ClickException("name other domains: the rule does not apply to this relay's own domain")
    new = federations.add(domains)
    click.echo(f"{new} of them {'is' if new == 1 else 'are'} new.")
    _say(federations.get())


@federation.command()
@_domains_argument
def remove(domains: list[str]) -> None:
    """Remove each DOMAIN from the exceptions. Exit status 1 if one of them was not an exception."""
    federations = Federations(store())
    missing = sorted(set(domains) - federations.get().exceptions)
    federations.remove(domains)
    _say(federations.get())
    if missing:
        raise click.ClickException(f"see `chatmailctl federation show`: no exceptions: {', '.join(missing)}")


def _say(found: Federation) -> None:
    rule = _RULES[found.rule]
    if not found.exceptions:
        click.echo(f"{rule} domains.")
        return
    click.echo(f"{rule} domains but")
    for domain in sorted(found.exceptions):
        click.echo(f"  {domain}")


_RULES: Mapping[Rule, str] = MappingProxyType(
    {"open": "Open: mail is exchanged with all", "closed": "Closed: mail is exchanged with no"}
)
