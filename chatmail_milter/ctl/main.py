"""`chatmailctl`: what the operator asks and orders.

One file per noun. Each prints a table, or JSON for programs; an error begins with what to do about it.
"""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.ctl.account import account
from chatmail_milter.ctl.block import block
from chatmail_milter.ctl.configuration import config
from chatmail_milter.ctl.dns import dns
from chatmail_milter.ctl.endpoints import endpoints
from chatmail_milter.ctl.federation import federation
from chatmail_milter.ctl.gate import gate
from chatmail_milter.ctl.peers import peers
from chatmail_milter.ctl.queue import queue
from chatmail_milter.ctl.refusals import refusals
from chatmail_milter.ctl.route import route
from chatmail_milter.ctl.token import token
from chatmail_milter.store import fault


class Commands(click.Group):
    """The group of all commands: each reports a fault of the store in the same one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SQLAlchemyError as error:
            explained = fault.explained(error)
            click.echo(f"Error: {explained.advice}", err=True)
            raise click.exceptions.Exit(explained.status) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatmail-milter")
def main() -> None:
    """Look at and steer this chatmail relay."""


for command in (
    account, block, config, dns, endpoints, federation, gate, peers, queue, refusals, route, token,
):  # fmt: skip
    main.add_command(command)
