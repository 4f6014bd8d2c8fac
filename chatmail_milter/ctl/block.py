"""`chatmailctl block`: the blocklist. A change is in force in all programs when the command returns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import BinaryIO

import click
from sqlalchemy import Engine

from chatmail_milter.config import load_or_exit
from chatmail_milter.ctl.context import store
from chatmail_milter.ctl.dovecot import end_refused
from chatmail_milter.ctl.output import json_option, print_json, print_table
from chatmail_milter.rules.blocklist import Blocklist, MalformedEntryError, entry, is_network
from chatmail_milter.store.policies import Blocks, Policies
from chatmail_milter.store.tables import NOTE_MAX

_SHOWN = 60  # characters of what can't be an entry
_COMMENT = re.compile(r"(?:^|\s)#")


def _note(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (len(value) > NOTE_MAX or not value.isprintable()):
        raise click.BadParameter(f"a note is one line of at most {NOTE_MAX} characters")
    return value


_note_option = click.option("--note", callback=_note, help="The reason, as a note in the list.")
_entries_argument = click.argument("entries", metavar="ENTRY...", nargs=-1, required=True)


@click.group()
def block() -> None:
    """Blocklist of addresses, domains and networks.

    They can't log in or send, and mail from or to them is refused. An ENTRY is an address
    (someone@example.org), a domain (example.org), all domains below one but not itself (.example.org), an
    IP address (192.0.2.1) or a network (192.0.2.0/24, 2001:db8::/32).
    """


@block.command()
@_entries_argument
@_note_option
def add(entries: Sequence[str], note: str | None) -> None:
    """Block each ENTRY (see `chatmailctl block --help`), in force when the command returns.

    .example.org blocks the subdomains of example.org; to block example.org too, add both.
    """
    found = _understood([(one, one) for one in entries])
    engine = store()
    _add(engine, found, note)
    _hint_at_parents(engine, found)


@block.command("import")
@click.argument("file", type=click.File("rb"))
@_note_option
def import_(file: BinaryIO, note: str | None) -> None:
    """Block the entries listed in FILE (- for standard input), all or none of them.

    FILE has one entry per line; a # at the beginning of a word starts a comment.
    """
    lines = [(f"line {number}", _without_comment(line)) for number, line in enumerate(file, 1)]
    found = _understood([(name, text) for name, text in lines if text])
    if found:
        _add(store(), found, note)
    else:
        click.echo("Nothing is listed there.")


@block.command()
@_entries_argument
def remove(entries: Sequence[str]) -> None:
    """Unblock each ENTRY. Exit status 1 if one of them was not blocked."""
    found = _understood([(one, one) for one in entries], ours_too=True)
    blocks = Blocks(store())
    missing = sorted(set(found) - {one.entry for one in blocks.list()})
    click.echo(f"Removed {_number(blocks.remove(found))}.")
    if missing:
        raise click.ClickException(f"see `chatmailctl block list`: not blocked: {', '.join(missing)}")


@block.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all entries, with the day each was added."""
    rows = Blocks(store()).list()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("Entry", "Added", "Note"),
        [(row.entry, row.added.isoformat(), row.note or "") for row in rows],
        "The blocklist is empty.",
    )


def _without_comment(line: bytes) -> str:
    # What isn't UTF-8 becomes what no entry may hold. An address may hold a #, but not begin with it.
    return _COMMENT.split(line.decode("utf-8-sig", "replace"), maxsplit=1)[0].strip()


def _understood(named: Iterable[tuple[str, str]], *, ours_too: bool = False) -> list[str]:
    """Parses texts, each given with a name, as entries. Exits with an error that names all invalid ones."""
    domain = load_or_exit().mail.domain
    found, wrong = [], []
    for name, text in named:
        try:
            one = entry(text)
            if not ours_too and Blocklist.of([one]).has_domain(domain):
                raise MalformedEntryError(f"this would block all users of this relay, {domain}")
            found.append(one)
        except MalformedEntryError as error:
            shown = "" if name == text else f"{text[:_SHOWN]!r}: "
            wrong.append(f"{name[:_SHOWN]}: {shown}{error}")
    if wrong:
        for line in wrong:
            click.echo(line, err=True)
        raise click.ClickException(f"correct {len(wrong)} of {len(found) + len(wrong)}: nothing was changed")
    return found


def _add(engine: Engine, entries: Sequence[str], note: str | None) -> None:
    new = Blocks(engine).add(entries, note)
    known = len(set(entries)) - new
    click.echo(f"Added {_number(new)}" + (f"; {known} blocked before." if known else "."))
    at_us = f"@{load_or_exit().mail.domain}"
    if any(is_network(one) or one.endswith(at_us) for one in entries):
        end_refused(Policies(engine).current())


def _hint_at_parents(engine: Engine, entries: Iterable[str]) -> None:
    blocklist = Policies(engine).current().blocklist
    for one in entries:
        name = one.removeprefix(".")
        if name != one and not blocklist.has_domain(name):
            click.echo(
                f"{name} itself is not blocked by that; `chatmailctl block add {name}` does.", err=True
            )


def _number(entries: int) -> str:
    return f"{entries} entr{'y' if entries == 1 else 'ies'}"
