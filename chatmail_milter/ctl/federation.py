"""`chatmailctl federation`: with which domains this relay exchanges mail. In force when it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import click

from chatmail_milter.config import load_or_exit
from chatmail_milter.ctl.context import store
from chatmail_milter.ctl.output import json_option, print_json
from chatmail_milter.rules.blocklist import MalformedEntryError, domain_entry
from chatmail_milter.rules.federation import Federation, Rule
from chatmail_milter.store.federation import Federations


def _domains(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    try:
        return [domain_entry(value) for value in values]
    except MalformedEntryError as error:
        raise click.BadParameter(str(error)) from None


_domains_argument = click.argument("domains", metavar="DOMAIN...", nargs=-1, required=True, callback=_domains)


@click.group()
def federation() -> None:
    """With which domains this relay exchanges mail.

    It is with all but some (open), or with none but some (closed). A DOMAIN is a name (example.org), all
    names below one but not itself (.example.org), or an IP literal ([192.0.2.1]). Each of the two rules
    has its own exceptions.
    """


@federation.command()
@json_option
def show(as_json: bool) -> None:
    """The rule in force, and its exceptions."""
    found = Federations(store()).get()
    if as_json:
        print_json({"rule": found.rule, "exceptions": sorted(found.exceptions)})
    else:
        _say(found)


@federation.command("open")
def open_() -> None:
    """Exchange mail with every domain but the exceptions."""
    _say(Federations(store()).set_rule("open"))


@federation.command()
def closed() -> None:
    """Exchange mail with no domain but the exceptions."""
    _say(Federations(store()).set_rule("closed"))


@federation.command()
@_domains_argument
def add(domains: list[str]) -> None:
    """Make each DOMAIN an exception from the rule in force."""
    federations = Federations(store())
    if load_or_exit().mail.domain in domains:
        raise click.ClickException("name other domains: the rule is never asked about our own")
    new = federations.add(domains)
    click.echo(f"{new} of them {'is' if new == 1 else 'are'} new.")
    _say(federations.get())


@federation.command()
@_domains_argument
def remove(domains: list[str]) -> None:
    """Let the rule in force hold for each DOMAIN again. Exit status 1 if one of them was no exception."""
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
