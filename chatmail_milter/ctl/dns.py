"""`chatmailctl dns`: which of the relay's DNS records are published, as its own resolver sees them.

The records wanted are those of `/etc/chatmail/records.zone`, which the playbook writes: the same file that it
gives the operator to publish. Reverse names and DNSSEC are not looked at.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click
from dns.exception import DNSException

from chatmail_milter.ctl.output import json_option, print_json, print_table
from chatmail_milter.doctor.records import WANTED, Record, compare, look_up, read


@click.command()
@json_option
@click.option(
    "--records", type=click.Path(path_type=Path), default=WANTED, help="The records that are wanted."
)
def dns(as_json: bool, records: Path) -> None:
    """Which DNS records are published. Exit status: 0 all, 1 not all, 3 DNS did not answer for some."""
    try:
        wanted = read(records)
    except (OSError, UnicodeDecodeError, DNSException) as error:
        raise click.ClickException(
            f"run the playbook, which writes {records}: it can't be read: {error}"
        ) from None
    findings = [compare(one, look_up) for one in wanted]
    if as_json:
        print_json([asdict(one) for one in findings])
    else:
        _print(findings)
    states = {one.state for one in findings}
    sys.exit(1 if states & {"missing", "different"} else 3 if "can't say" in states else 0)


def _print(findings: list[Record]) -> None:
    rows = [
        (
            one.state,
            one.name,
            one.type,
            _short(one.wanted),
            _short(one.found) if one.state == "different" else "",
        )
        for one in findings
    ]
    print_table(("State", "Name", "Type", "Wanted", "Found"), rows, "No records are wanted.")
    wrong = [one for one in findings if one.state in ("missing", "different")]
    if any(one.type in ("A", "AAAA") for one in wrong):
        click.echo(
            "Publish the address records first: the certificate needs them, and the MX and SPF name them."
        )
    elif wrong:
        click.echo(
            "Publish what is missing or different. The resolver may remember the old state for a while."
        )
    if any(one.state == "can't say" for one in findings):
        click.echo(
            "DNS did not answer for some: see that unbound runs, and that the domain's name servers do."
        )


def _short(texts: tuple[str, ...]) -> str:
    return ", ".join(text if len(text) <= 60 else f"{text[:57]}..." for text in texts)
