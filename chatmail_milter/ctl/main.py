"""`chatmailctl`: what the operator asks and orders.

One file per noun. Each prints a table, or JSON for programs; an error begins with what to do about it.
"""

from __future__ import annotations

import click

from chatmail_milter.ctl.account import account
from chatmail_milter.ctl.block import block
from chatmail_milter.ctl.configuration import config
from chatmail_milter.ctl.endpoints import endpoints
from chatmail_milter.ctl.federation import federation
from chatmail_milter.ctl.gate import gate
from chatmail_milter.ctl.peers import peers
from chatmail_milter.ctl.queue import queue
from chatmail_milter.ctl.refusals import refusals
from chatmail_milter.ctl.route import route
from chatmail_milter.ctl.token import token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatmail-milter")
def main() -> None:
    """Look at and steer this chatmail relay."""


for command in (account, block, config, endpoints, federation, gate, peers, queue, refusals, route, token):
    main.add_command(command)
