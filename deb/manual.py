"""Generates the manual pages: of each program from click's help, and chatmail.toml(5) from the types.

Applications under gunicorn have no help; their pages say which unit starts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint

import click

from chatmail_milter.config import DEFAULT_PATH, example
from deb import troff
from deb.units import names

STARTED = "systemd(1) starts it, by the unit {0}.service; messages go to its journal: journalctl \\-u {0}."
# Services that are applications under gunicorn, and so no programs of their own.
APPLICATIONS = {
    "chatmail-admin": "serve the admin pages of a chatmail relay",
    "chatmail-hooks": "tell Dovecot about accounts",
    "mxdeliv-app": "take mail from peers by HTTPS, and serve the web pages",
}
FILES = {
    str(DEFAULT_PATH): "The configuration of all programs, chatmail.toml(5). $CHATMAIL_CONFIG names another.",
    "/usr/share/doc/chatmail-milter/examples/chatmail.toml": "Every setting with its default.",
}


def pages(programs: Iterable[EntryPoint], epoch: int, version: str) -> dict[str, str]:
    """Maps a path in the package to the page."""
    found = {"usr/share/man/man5/chatmail.toml.5": settings(epoch, version)}
    by_name = {one.name: one for one in programs}
    every = sorted([*by_name, *APPLICATIONS])
    for name in every:
        others = [f"{other}(8)" for other in every if other != name]
        found[f"usr/share/man/man8/{name}.8"] = (
            program(by_name[name], epoch, version, others)
            if name in by_name
            else application(name, epoch, version, others)
        )
    return found


def application(name: str, epoch: int, version: str, others: list[str]) -> str:
    """The page of a service without a command line."""

    def body() -> Iterator[str]:
        yield troff.heading("NAME")
        yield f"{troff.escape(name)} \\- {troff.formatted(APPLICATIONS[name])}"
        yield troff.heading("SYNOPSIS")
        yield troff.escape(f"systemctl start {name}.service")
        yield troff.heading("DESCRIPTION")
        yield "An application under gunicorn(1). It has no options."
        yield ".PP"
        yield STARTED.format(troff.escape(name))
        yield from last(others)

    return troff.page(name, 8, epoch, version, body())


def last(others: list[str]) -> Iterator[str]:
    """The last sections of each page."""
    yield troff.heading("FILES")
    for path, what in FILES.items():
        yield from troff.item(path, what)
    yield troff.heading("SEE ALSO")
    yield troff.escape(", ".join(["chatmail.toml(5)", *others]))


def program(one: EntryPoint, epoch: int, version: str, others: list[str]) -> str:
    main: click.Command = one.load()
    context = click.Context(main, info_name=one.name, **main.context_settings)
    text, synopsis = main.help or "", " ".join(main.collect_usage_pieces(context))
    first = " ".join(text.split()).partition(". ")[0].rstrip(".")

    def body() -> Iterator[str]:
        yield troff.heading("NAME")
        yield f"{troff.escape(one.name)} \\- {troff.formatted(first)}"
        yield troff.heading("SYNOPSIS")
        yield f"\\fB{troff.escape(one.name)}\\fR {troff.escape(synopsis)}"
        yield troff.heading("DESCRIPTION")
        yield from troff.paragraphs(text)
        if f"{one.name}.service" in names():
            yield ".PP"
            yield STARTED.format(troff.escape(one.name))
        yield from commands(main, context)
        yield from last(others)

    return troff.page(one.name, 8, epoch, version, body())


def commands(main: click.Command, context: click.Context) -> Iterator[str]:
    """Options of a program, and its commands with click's help."""
    yield troff.heading("OPTIONS")
    yield from options(main, context)
    if isinstance(main, click.Group):
        yield troff.heading("COMMANDS")
        for command, inner in leaves(main, context):
            pieces = " ".join(command.collect_usage_pieces(inner))
            words = inner.command_path.partition(" ")[2]
            yield troff.subheading(f"{words} {pieces}")
            yield from troff.paragraphs(command.help or "")
            yield from options(command, inner)


def leaves(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """The commands that are not groups."""
    for name in group.list_commands(context):
        # A group may load a command when it is asked for.
        command = group.get_command(context, name)
        inner = click.Context(command or group, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from leaves(command, inner)
        elif command:
            yield command, inner


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        # `--help` is said once, of the program; arguments are in the usage line.
        if record and record[1] and not (context.parent and "--help" in parameter.opts):
            yield from troff.item(*record)


def settings(epoch: int, version: str) -> str:
    """chatmail.toml(5)."""

    def body() -> Iterator[str]:
        yield troff.heading("NAME")
        yield "chatmail.toml \\- configuration of a chatmail relay's programs"
        yield troff.heading("SYNOPSIS")
        yield troff.escape(str(DEFAULT_PATH))
        yield troff.heading("DESCRIPTION")
        yield from troff.paragraphs(
            "A file in TOML, read by every program when it starts. Unknown keys are errors, which name the "
            "nearest known one. What is left out has its default. Sizes are written with a unit (`500MB`, "
            "`30MiB`), durations too (`5s`, `20min`, `4h`, `90d`).\n\n"
            "`chatmailctl config check` says whether a file can be used, `chatmailctl config show` what is "
            "in force."
        )
        for name, section in example.sections(example.EXAMPLE):
            yield troff.heading(f"[{name}]")
            yield from troff.paragraphs(example.first_line(section))
            for one in example.settings(section):
                yield from troff.item(one.key, f"{one.text} {default(one)}".strip())
        yield troff.heading("SEE ALSO")
        yield troff.escape("chatmailctl(8), chatmail-milter(8)")

    return troff.page("chatmail.toml", 5, epoch, version, body())


def default(one: example.Setting) -> str:
    if one.required:
        return "It must be set."
    return f"Default: `{one.value}`." if one.value is not None else ""
