"""`chatmailctl queue`: lists, retries, holds, releases and deletes messages in Postfix's queue."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from chatmail_milter.ctl.context import canonical_domain, store
from chatmail_milter.ctl.output import ago, confirm, json_option, print_json, print_table, size
from chatmail_milter.ctl.postqueue import Postqueue, QueueEntry
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.revision import wait_for_caches_to_expire
from chatmail_milter.store.sanitize import printable

_SHOWN_REASONS = 2
# Postfix's short and long queue IDs (postconf(5), enable_long_queue_ids).
_QUEUE_ID = re.compile(r"[0-9A-Za-z]{5,30}")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def queue(context: click.Context, as_json: bool) -> None:
    """List the messages in Postfix's queue, oldest first.

    Commands that take several IDs say which of them are no longer in the queue, and do the rest. If none is
    there, exit status 1.
    """
    if context.invoked_subcommand is None:
        _print(as_json)
    elif as_json:
        raise click.UsageError(f"say --json after {context.invoked_subcommand}")


@queue.command("list")
@json_option
def list_(as_json: bool) -> None:
    """The same as `queue`."""
    _print(as_json)


def _ids(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _QUEUE_ID.fullmatch(value):
            raise click.BadParameter(f"{value!r} is no queue ID: see `chatmailctl queue`")
    return values


@queue.command()
@click.argument("domain", required=False, callback=canonical_domain)
@click.option(
    "--id", "ids", metavar="ID", multiple=True, callback=_ids, help="Retry only this message; repeatable."
)
def flush(domain: str | None, ids: tuple[str, ...]) -> None:
    """Retry deferred messages now: all, those for DOMAIN, or some by --id.

    If HTTPS to these domains is suspended after failures, the suspension is lifted first.
    """
    if domain is not None and ids:
        raise click.UsageError("name a domain, or queue IDs with --id")
    postqueue = Postqueue.here()
    chosen = postqueue.list() if domain is None and not ids else _chosen(postqueue, ids, domain)
    waiting = [one for one in chosen if one.queue == "deferred"]
    endpoints = Endpoints(store())
    for name in {name for one in waiting for name in one.domains} if domain is None else {domain}:
        endpoints.unmark(name)
    wait_for_caches_to_expire()
    # One by one: `postqueue -s` knows only the domains of fast_flush_domains, which ours are not.
    for one in waiting:
        postqueue.hurry(one.queue_id)
    where = "" if domain is None else f" for {domain}"
    click.echo(f"Retrying {_number(len(waiting))}{where}." if waiting else f"Nothing is deferred{where}.")


def _which(function: Callable[..., None]) -> Callable[..., None]:
    """Click decorator: chooses messages by queue ID, or all for a domain."""
    ids = click.argument("ids", metavar="[ID]...", nargs=-1, callback=_ids)
    return ids(
        click.option(
            "--domain", metavar="DOMAIN", callback=canonical_domain, help="All messages for this domain."
        )(function)
    )


@queue.command()
@click.argument("queue_id", metavar="ID", callback=lambda c, p, value: _ids(c, p, (value,))[0])
@json_option
def show(queue_id: str, as_json: bool) -> None:
    """Show the envelope of a message, and why each recipient waits. Never shows its content."""
    (message,) = _chosen(Postqueue.here(), (queue_id,), None)
    if as_json:
        print_json(asdict(message))
        return
    age = ago(message.arrived, datetime.now(UTC))
    for name, text in (
        ("Queue", message.queue),
        ("Arrived", f"{message.arrived:%Y-%m-%d %H:%M:%S} UTC ({age})"),
        ("Size", size(message.size)),
        ("Sender", message.sender or "<> (a bounce)"),
    ):
        click.echo(f"{name:9}{printable(text)}")
    print_table(("Recipient",), [(one,) for one in message.recipients], "It has no recipients.")
    for reason in message.reasons:
        click.echo(f"Reason: {printable(reason)}")


@queue.command()
@_which
def hold(ids: Sequence[str], domain: str | None) -> None:
    """Hold messages in the queue, by ID or --domain, until they are released.

    Their lifetime continues to run.
    """
    _order("hold", "Held", ids, domain, lambda one: one.queue != "hold")


@queue.command()
@_which
def release(ids: Sequence[str], domain: str | None) -> None:
    """Release held messages, by ID or --domain."""
    _order("release", "Released", ids, domain, lambda one: one.queue == "hold")


@queue.command()
@_which
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def delete(ids: Sequence[str], domain: str | None, yes: bool) -> None:
    """Delete messages permanently, by ID or --domain. Postfix sends no bounce."""
    _order("delete", "Deleted", ids, domain, lambda _: True, ask=not yes)


def _order(
    what: str,
    done: str,
    ids: Sequence[str],
    domain: str | None,
    applies: Callable[[QueueEntry], bool],
    *,
    ask: bool = False,
) -> None:
    if bool(ids) == bool(domain):
        raise click.UsageError("name queue IDs, or a domain with --domain")
    postqueue = Postqueue.here()
    chosen = [one for one in _chosen(postqueue, ids, domain) if applies(one)]
    if chosen and ask:
        confirm(f"Delete {_number(len(chosen))}, for good")
    number = postqueue.order(what, [one.queue_id for one in chosen]) if chosen else 0
    click.echo(f"{done} {_number(number)}." if number else f"There is no message to {what}.")


def _chosen(postqueue: Postqueue, ids: Sequence[str], domain: str | None) -> list[QueueEntry]:
    """The chosen messages. Says which IDs are not in the queue; if none is, that is an error."""
    there = {one.queue_id: one for one in postqueue.list()}
    if domain is not None:
        return [one for one in there.values() if domain in one.domains]
    # Messages leave the queue at any time, so the others are chosen all the same.
    gone = [one for one in dict.fromkeys(ids) if one not in there]
    if gone and len(gone) == len({*ids}):
        raise click.ClickException(f"see `chatmailctl queue`: no message {', '.join(gone)} is in the queue")
    if gone:
        click.echo(f"No longer in the queue: {', '.join(gone)}.")
    return [there[one] for one in dict.fromkeys(ids) if one in there]


def _number(messages: int) -> str:
    return f"{messages} message{'' if messages == 1 else 's'}"


def _print(as_json: bool) -> None:
    messages = Postqueue.here().list()
    if as_json:
        print_json([asdict(message) for message in messages])
        return
    print_table(
        ("Queue", "Id", "Arrived", "Size", "Sender", "Recipients", "Domains", "Reason"),
        [
            (
                message.queue,
                message.queue_id,
                ago(message.arrived),
                size(message.size),
                message.sender,
                _some(message.recipients, 3),
                _some(message.domains, 3),
                "; ".join(message.reasons[:_SHOWN_REASONS]),
            )
            for message in messages
        ],
        "The queue is empty.",
        whole=("Id",),
    )
    if messages:
        click.echo(f"In all: {_number(len(messages))}, {size(sum(one.size for one in messages))}.")


def _some(values: tuple[str, ...], number: int) -> str:
    more = len(values) - number
    return ", ".join(values[:number]) + (f" and {more} more" if more > 0 else "")
