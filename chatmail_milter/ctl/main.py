"""`chatmailctl`: the operator's command.

One file per noun. Each prints a table, or JSON for programs; an error begins with what to do about it.
A command's module is imported only when the command runs, not for `--help`: SQLAlchemy alone takes five times
as long to import as click.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

# Name, the module that has a command of this name, and the first sentence of its help.
COMMANDS = {
    "account": ("chatmail_milter.ctl.account", "Accounts on this relay."),
    "admin": ("chatmail_milter.ctl.admin", "Passwords of the admin pages."),
    "backup": ("chatmail_milter.ctl.backup", "Back up this whole relay to DIRECTORY."),
    "block": ("chatmail_milter.ctl.block", "Blocklist of addresses, domains and networks."),
    "calls": ("chatmail_milter.ctl.calls", "Secrets of the TURN server for calls."),
    "config": ("chatmail_milter.ctl.configuration", "The configuration of all programs."),
    "dns": ("chatmail_milter.ctl.dns", "Show which DNS records are published."),
    "doctor": ("chatmail_milter.ctl.doctor", "Find what is wrong with this relay, and how to fix it."),
    "endpoints": ("chatmail_milter.ctl.endpoints", "What the relay remembers about HTTPS at peers."),
    "expire": (
        "chatmail_milter.ctl.expire",
        "Remove expired mail, empty folders and unused accounts (section [expiry] of chatmail.toml).",
    ),
    "federation": (
        "chatmail_milter.ctl.federation",
        "Choose the domains with which this relay exchanges mail.",
    ),
    "gate": ("chatmail_milter.ctl.gate", "Check messages with the PGP-only gate."),
    "metrics": ("chatmail_milter.ctl.metrics", "Print the relay's figures for Prometheus."),
    "peers": (
        "chatmail_milter.ctl.peers",
        "Show attempts, successes, failures and latency per peer and road.",
    ),
    # Of the other package, which is named here and not imported.
    "probe": (
        "mxdeliv_app.probe.command",
        "Send a real message to a peer by HTTPS and by SMTP, step by step.",
    ),
    "queue": ("chatmail_milter.ctl.queue", "List the messages in Postfix's queue, oldest first."),
    "reasons": ("chatmail_milter.ctl.reasons", "Explain the reason words in tables and log lines."),
    "refusals": (
        "chatmail_milter.ctl.refusals",
        "Recipients at peers that their servers refused permanently.",
    ),
    "restore": (
        "chatmail_milter.ctl.backup",
        "Restore the relay that was backed up to DIRECTORY on this host.",
    ),
    "route": ("chatmail_milter.ctl.route", "Routes to peers, in force for the next message."),
    "status": ("chatmail_milter.ctl.status", "Show the relay on one screen."),
    "token": ("chatmail_milter.ctl.token", "Invitations, with which people create accounts."),
    "trace": ("chatmail_milter.ctl.trace", "Trace a message on this host, from the journal."),
}


class Commands(click.Group):
    """The group of all commands. Reports a fault of the store as one line, the same for each command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            explained = _fault_of_the_store(error)
            if explained is None:
                raise
            advice, status = explained
            click.echo(f"Error: {advice}", err=True)
            raise click.exceptions.Exit(status) from None


def _fault_of_the_store(error: Exception) -> tuple[str, int] | None:
    """For a fault of the store: what to do, and the exit status. None for any other error."""
    if "sqlalchemy" not in sys.modules:
        return None
    from sqlalchemy.exc import SQLAlchemyError

    from chatmail_milter.store import fault

    if not isinstance(error, SQLAlchemyError):
        return None
    explained = fault.explained(error)
    return explained.advice, explained.status


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatmail-milter")
def main() -> None:
    """Inspect and control this chatmail relay.

    `chatmailctl status` shows it on one screen, and `chatmailctl doctor` says what is wrong.
    """
