"""python -m tests.lab base|up|down|deploy|status|shell: the lab by hand."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from tests.lab import builder
from tests.lab.debian import require_root
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.plan import Paths


def progress() -> Callable[[str], None]:
    """Says each step with the seconds since the start, in plain lines that read the same in a log."""
    began = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} s  {text}")

    return say


@click.group(help="Real Debian hosts on this machine, each in a network namespace of its own.")
def main() -> None:
    """The group has nothing to do itself."""


@main.command(help="Make the Debian that the lab's hosts stand on, which takes minutes, if it isn't there.")
def base() -> None:
    Lab().bases(progress())


@main.command(help="Bring the lab up; the first time makes the base, which takes minutes.")
def up() -> None:
    Lab().up(progress())


@main.command(help="Take the lab down. The cached base stays.")
def down() -> None:
    Lab().down(progress())


@main.command(help="Run the playbook on _a.lab and _b.lab, and publish their DNS records.")
def deploy() -> None:
    Lab().deploy(progress())


@main.command(help="Serve the DNS records anew, from the files that the playbook wrote.")
def publish() -> None:
    Lab().publish()


@main.command(help="What of the lab is up. Exit code 1 when not all of it is.")
@click.option("--json", "as_json", is_flag=True, help="The same, for programs.")
def status(as_json: bool) -> None:
    lab = Lab()
    hosts = lab.status()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(host) for host in hosts], indent=2))
    else:
        table = Table("host", "domain", "address", "state", "namespace", box=None, header_style="bold")
        for host in hosts:
            table.add_row(host.name, host.domain, host.ip, host.state, lab.netns(host.name))
        Console().print(table)
    sys.exit(any(host.state != "up" for host in hosts))


@main.command(
    help="A root shell on HOST, or one command there.", context_settings={"ignore_unknown_options": True}
)
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(host: str, command: tuple[str, ...]) -> None:
    require_root()
    sys.exit(Lab().host(host).shell(command))


@main.command(
    help="Run COMMAND in this clone, in a Debian of another release; the first time makes it.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("suite", type=click.Choice(builder.SUITES))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def on(suite: str, command: tuple[str, ...]) -> None:
    require_root()
    paths = Paths.from_environment()
    builder.ensure(paths, suite, progress())
    sys.exit(builder.run(paths, suite, list(command)).returncode)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
