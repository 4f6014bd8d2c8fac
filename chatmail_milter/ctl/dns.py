"""`chatmailctl dns`: compares the relay's DNS records with those that its own resolver sees.

The expected records are in `/etc/chatmail/records.zone`, which the playbook writes: the same file that it
gives the operator to publish. Does not check reverse names and DNSSEC.
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
    "--records",
    type=click.Path(path_type=Path),
    default=WANTED,
    show_default=True,
    help="Zone file with the expected records.",
)
def dns(as_json: bool, records: Path) -> None:
    """Show which DNS records are published.

    The host's resolver is asked, which may have old answers; `chatmailctl doctor` asks the domain's own name
    servers. Exit status: 0 all are published, 1 not all, 3 some lookups failed.
    """
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
    print_table(("State", "Name", "Type", "Wanted", "Found"), rows, "The zone file has no records.")
    wrong = [one for one in findings if one.state in ("missing", "different")]
    if any(one.type in ("A", "AAAA") for one in wrong):
        click.echo("Publish the address records first: the certificate, MX and SPF depend on them.")
    elif wrong:
        click.echo("Publish the records that are missing or different. The resolver may cache the old ones.")
    if any(one.state == "can't say" for one in findings):
        click.echo("Some lookups failed: check that unbound and the domain's name servers are running.")


def _short(texts: tuple[str, ...]) -> str:
    return ", ".join(text if len(text) <= 60 else f"{text[:57]}..." for text in texts)
