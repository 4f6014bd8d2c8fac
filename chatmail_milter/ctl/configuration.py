"""`chatmailctl config`: prints the configuration in force, prints a documented example, checks a file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from chatmail_milter import config as configuration
from chatmail_milter.config import example as example_file
from chatmail_milter.ctl.output import json_option, print_json


@click.group()
def config() -> None:
    """The configuration of all programs."""


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Print every setting in force, including defaults."""
    loaded = configuration.load_or_exit()
    if as_json:
        print_json(example_file.tree(loaded))
    else:
        click.echo(example_file.render(loaded, documented=False), nl=False)


@config.command()
def example() -> None:
    """Print a configuration file that documents every setting and its default."""
    click.echo(example_file.render(example_file.EXAMPLE, documented=True), nl=False)


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Check FILE (default: the installed configuration) and the store that it names.

    Changes nothing. Exit status 78 if the configuration can't be used; if the store can't be used, the status
    that every command has then.
    """
    try:
        loaded = configuration.load(file)
    except configuration.ConfigError as error:
        click.echo(f"fix the configuration: {error}", err=True)
        raise click.exceptions.Exit(78) from None
    click.echo("The configuration is fine.")
    # Not above: SQLAlchemy takes longer to import than all that `config show` does.
    from chatmail_milter.store.schema import examine

    # What SQLite makes beside a store must be writable for the services, which share its directory's group.
    os.umask(0o007)
    click.echo(examine(loaded.store.url))
