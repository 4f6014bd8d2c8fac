"""`chatmailctl trace`: traces a message on this host step by step, from the journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime

import click

from chatmail_milter.ctl import context
from chatmail_milter.ctl.output import after, json_option, print_json, print_table
from chatmail_milter.ctl.postqueue import Postqueue, QueueEntry
from chatmail_milter.store.sanitize import printable
from chatmail_milter.trace import journal
from chatmail_milter.trace.steps import TracedLine, step
from chatmail_milter.trace.ways import TracedMessage, advice, ways

# More ways than this are listed, a line each.
_WHOLE = 3


@click.command()
@click.argument("message", metavar="MESSAGE-ID|QUEUE-ID|ADDRESS")
@click.option(
    "--since",
    metavar="DURATION",
    callback=context.since,
    help="Read only this much of the journal: `2h`, `1d`.",
)
@click.option(
    "--all", "everything", is_flag=True, help="Show the steps of each message, even if there are many."
)
@json_option
def trace(message: str, since: datetime | None, everything: bool, as_json: bool) -> None:
    """Trace a message on this host, from the journal.

    Prints each step with its time: how the message arrived, the verdict, the queue, the road, the peer's
    answer or the mailbox; and what to ask the peer's operator. QUEUE-ID may be the peer's, from its answer.
    ADDRESS may be the sender or a recipient; if it has many messages, they are listed. Run it as root. Exit
    status 1: nothing was found.
    """
    first: list[TracedLine] = []
    try:
        found = [way for way in ways(_steps(since, first)) if way.is_of(message)]
    except journal.JournalError as error:
        raise click.ClickException(str(error)) from None
    waiting = {one.queue_id: one for one in _waiting()}
    queued = [one for one in waiting.values() if _is_of(one, message)]
    if as_json:
        print_json(
            {"messages": [_as_json(way, waiting) for way in found], "queue": [asdict(one) for one in queued]}
        )
    elif len(found) > _WHOLE and not everything:
        _print_list(found, waiting)
    else:
        for way in found:
            _print(way, waiting)
    if not found:
        if queued and not as_json:
            click.echo("The journal no longer has this message, but it is in the queue:")
            click.echo("\n".join(f"  chatmailctl queue show {one.queue_id}" for one in queued))
        if not queued:
            raise click.ClickException(_nothing(message, first))


def _steps(since: datetime | None, first: list[TracedLine]) -> Iterator:  # type: ignore[type-arg]
    for entry in journal.read(since):
        if not first:
            first.append(entry)
        found = step(entry)
        if found is not None:
            yield found


def _waiting() -> list[QueueEntry]:
    """The messages in the queue; none without Postfix or without permission."""
    postqueue = Postqueue.open()
    try:
        return [] if postqueue is None else postqueue.list()
    except click.ClickException:
        return []


def _is_of(one: QueueEntry, text: str) -> bool:
    named = text.strip("<>").lower()
    return text == one.queue_id or named in {
        address.lower() for address in (one.sender, *one.recipients) if address
    }


def _nothing(message: str, first: Sequence[TracedLine]) -> str:
    begins = f"begins at {first[0].at:%Y-%m-%d %H:%M:%S} UTC" if first else "has no mail in it"
    return (
        f"see whether it is older, or was sent elsewhere: nothing is known of {printable(message)}. "
        f"The journal {begins}. It is in memory, and a restart of the host empties it. What was refused "
        "before its content came has no Message-ID there: look for the sender or the recipient. Our own "
        "programs log queue IDs and no addresses"
    )


def _outcome(way: TracedMessage, waiting: dict[str, QueueEntry]) -> str:
    """`delivered`; if recipients differ, the number of each outcome."""
    states = [one.state for one in way.recipients]
    if not states:
        return "in the queue" if any(one in waiting for one in way.queue_ids) else "unknown"
    if len(set(states)) == 1:
        return states[0]
    return ", ".join(f"{state}: {states.count(state)}" for state in dict.fromkeys(states))


def _as_json(way: TracedMessage, waiting: dict[str, QueueEntry]) -> dict[str, object]:
    return {
        **asdict(way),
        "outcome": _outcome(way, waiting),
        "waits": [one for one in way.queue_ids if one in waiting],
        "advice": advice(way),
    }


def _print_list(found: Sequence[TracedMessage], waiting: dict[str, QueueEntry]) -> None:
    print_table(
        ("Came (UTC)", "Queue ID", "Sender", "Recipients", "Outcome"),
        [
            (
                f"{way.steps[0].at:%Y-%m-%d %H:%M:%S}",
                way.queue_ids[0] if way.queue_ids else "-",
                _sender(way),
                ", ".join(one.address for one in way.recipients[:3])
                + (f" and {len(way.recipients) - 3} more" if len(way.recipients) > 3 else ""),
                _outcome(way, waiting),
            )
            for way in found
        ],
        "",
        whole=("Came (UTC)", "Queue ID"),
    )
    click.echo(
        f"In all: {len(found)} messages. `chatmailctl trace QUEUE-ID` has the steps of one, `--all` of each."
    )


def _print(way: TracedMessage, waiting: dict[str, QueueEntry]) -> None:
    began = way.steps[0].at
    for name, text in (
        ("Message-ID", way.message_id or "not in the journal"),
        ("Queue ID", ", ".join(way.queue_ids) or "none: refused before it got one"),
        ("Sender", _sender(way)),
        *(("Recipient", f"{one.address}: {one.state}") for one in way.recipients),
    ):
        click.echo(f"{name:12}{printable(text)}")
    for queue_id in way.queue_ids:
        if queue_id in waiting:
            click.echo(f"{'Waits now':12}{queue_id}, queue {waiting[queue_id].queue}")
    click.echo(f"{'Began':12}{began:%Y-%m-%d %H:%M:%S.%f} UTC")
    print_table(
        ("After", "Queue ID", "Step"),
        [
            (after(one.at - began), one.queue_id or "-", one.text)
            for one in way.steps
            if one.kind != "message-id"
        ],
        "",
        whole=("After", "Queue ID"),
    )
    for sentence in advice(way):
        click.echo(printable(sentence))
    click.echo()


def _sender(way: TracedMessage) -> str:
    return "unknown" if way.sender is None else way.sender or "<> (a bounce)"
