"""`chatmailctl queue`: what waits in Postfix's queue, and why; and having it tried now."""

from __future__ import annotations

from dataclasses import asdict

import click

from chatmail_milter.ctl.opened import canonical_domain, store
from chatmail_milter.ctl.output import ago, json_option, print_json, print_table
from chatmail_milter.ctl.postqueue import Postqueue
from chatmail_milter.store import lease
from chatmail_milter.store.endpoints import Endpoints

_SHOWN_REASONS = 2


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def queue(context: click.Context, as_json: bool) -> None:
    """Messages that wait in Postfix's queue, oldest first."""
    if context.invoked_subcommand is None:
        _print(as_json)
    elif as_json:
        raise click.UsageError(f"say --json after {context.invoked_subcommand}")


@queue.command("list")
@json_option
def list_(as_json: bool) -> None:
    """The same as `queue` alone."""
    _print(as_json)


@queue.command()
@click.argument("domain", required=False, callback=canonical_domain)
def flush(domain: str | None) -> None:
    """Try now what is deferred, all of it or what is for DOMAIN.

    A "no HTTPS" mark of these domains is taken away first: whoever hurries mail thinks that its peer is back.
    """
    postqueue = Postqueue.here()
    waiting = [one for one in postqueue.list() if one.queue == "deferred"]
    if domain is not None:
        waiting = [one for one in waiting if domain in one.domains]
    endpoints = Endpoints(store())
    for name in {name for one in waiting for name in one.domains} if domain is None else {domain}:
        endpoints.unmark(name)
    lease.outwait()
    # One by one: `postqueue -s` knows only the domains of fast_flush_domains, which ours are not.
    for one in waiting:
        postqueue.hurry(one.queue_id)
    number = len(waiting)
    where = "" if domain is None else f" for {domain}"
    click.echo(
        f"Hurried {number} message{'' if number == 1 else 's'}{where}."
        if number
        else f"Nothing is deferred{where}."
    )


def _print(as_json: bool) -> None:
    messages = Postqueue.here().list()
    if as_json:
        print_json([asdict(message) for message in messages])
        return
    print_table(
        ("Queue", "Id", "Arrived", "Size", "Sender", "Recipients", "Domains", "Why it waits"),
        [
            (
                message.queue,
                message.queue_id,
                ago(message.arrived),
                f"{message.size} B",
                message.sender,
                _some(message.recipients, 3),
                _some(message.domains, 3),
                "; ".join(message.reasons[:_SHOWN_REASONS]),
            )
            for message in messages
        ],
        "The queue is empty.",
    )


def _some(values: tuple[str, ...], number: int) -> str:
    more = len(values) - number
    return ", ".join(values[:number]) + (f" and {more} more" if more > 0 else "")
