"""`chatmailctl dns`: which of the relay's DNS records are published, as its own resolver sees them.

The records wanted are those of `/etc/chatmail/records.zone`, which the playbook writes: the same file that it
gives the operator to publish. Reverse names and DNSSEC are not looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from dns.exception import DNSException
from dns.rdata import Rdata
from dns.rdatatype import TXT
from dns.resolver import NXDOMAIN, NoAnswer, Resolver
from dns.rrset import RRset
from dns.zonefile import read_rrsets

from chatmail_milter.ctl.output import json_option, print_json, print_table

RECORDS = Path("/etc/chatmail/records.zone")
_SECONDS = 10.0  # for one question: the resolver may have to ask its way down from the root

# The texts at a name, as `_text` writes them; None where that can't be learnt.
Lookup = Callable[[RRset], "set[str] | None"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A name's records of one type. `state`: right, missing, different, can't say."""

    state: str
    name: str
    type: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]


@click.command()
@json_option
@click.option(
    "--records", type=click.Path(path_type=Path), default=RECORDS, help="The records that are wanted."
)
def dns(as_json: bool, records: Path) -> None:
    """Which DNS records are published. Exit status: 0 all, 1 not all, 3 DNS did not answer for some."""
    try:
        wanted = read_rrsets(records.read_text("utf-8"), rdclass=None)
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


def compare(wanted: RRset, look: Lookup) -> Finding:
    """What of `wanted` is there. Other texts at the name of a TXT record are somebody else's and harmless."""
    texts = {_text(record) for record in wanted}
    found = look(wanted)
    if found is not None and wanted.rdtype == TXT:
        tags = {text.partition(";")[0].split()[0] for text in texts}
        found = {text for text in found if text in texts or text.startswith(tuple(tags))}
    state = (
        "can't say"
        if found is None
        else "missing"
        if not found
        else "right"
        if found == texts
        else "different"
    )
    return Finding(
        state,
        wanted.name.to_text(omit_final_dot=True),
        wanted.rdtype.name,
        tuple(sorted(texts)),
        tuple(sorted(found or ())),
    )


def look_up(wanted: RRset) -> set[str] | None:
    """What the host's resolver says; `None` where it has no answer."""
    try:
        answer = Resolver().resolve(wanted.name, wanted.rdtype, search=False, lifetime=_SECONDS)
    except (NXDOMAIN, NoAnswer):
        return set()
    except (DNSException, OSError):
        return None
    return {_text(record) for record in answer}


def _text(record: Rdata) -> str:
    """As a zone file has it; of a TXT record the strings as one, as readers take them (RFC 7208, 3.3)."""
    if record.rdtype == TXT:
        return b"".join(getattr(record, "strings")).decode("utf-8", "replace")  # noqa: B009  (not of every Rdata)
    return record.to_text().lower()


def _print(findings: list[Finding]) -> None:
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
