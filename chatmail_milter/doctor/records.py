"""Checks the relay's DNS records against the expected ones.

The expected records are in `/etc/chatmail/records.zone`, which the playbook writes: the same file that it
gives the operator to publish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dns.exception import DNSException
from dns.name import Name
from dns.rdata import Rdata
from dns.rdatatype import NS, PTR, TXT, A
from dns.reversename import from_address
from dns.rrset import RRset
from dns.zonefile import read_rrsets

from chatmail_milter.doctor import Finding, FindingState, good, unknown
from chatmail_milter.doctor.network import DnsFailedError, Queries

SUBJECT = "dns"
WANTED = Path("/etc/chatmail/records.zone")

# The texts at a name, as `_text` writes them; None where that can't be learnt.
Lookup = Callable[[RRset], "set[str] | None"]


@dataclass(frozen=True, slots=True)
class Record:
    """A name's records of one type. `state`: right, missing, different, can't say."""

    state: str
    name: str
    type: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]


def read(path: Path = WANTED) -> list[RRset]:
    """The expected records. Raises `OSError`, `UnicodeDecodeError`, `DNSException`."""
    return read_rrsets(path.read_text("utf-8"), rdclass=None)


def compare(wanted: RRset, look: Lookup) -> Record:
    """Compares `wanted` with DNS. Other texts at the name of a TXT record do no harm."""
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
    return Record(
        state,
        wanted.name.to_text(omit_final_dot=True),
        wanted.rdtype.name,
        tuple(sorted(texts)),
        tuple(sorted(found or ())),
    )


def look_up(wanted: RRset, servers: list[str] | None = None) -> set[str] | None:
    """The answer of name servers, by default of the host's resolver; `None` if there is none."""
    try:
        return {_text(record) for record in Queries(servers).ask(wanted.name, wanted.rdtype)}
    except DnsFailedError:
        return None


def _text(record: Rdata) -> str:
    """A record as in a zone file; the strings of a TXT record are joined (RFC 7208, 3.3)."""
    if record.rdtype == TXT:
        return b"".join(getattr(record, "strings")).decode("utf-8", "replace")  # noqa: B009  (not of every Rdata)
    return record.to_text().lower()


def authoritative(wanted: RRset) -> set[str] | None:
    """The answer of the zone's own name servers, which is never stale; else that of `look_up`."""
    servers = _of_zone(wanted.name)
    found = look_up(wanted, servers) if servers else None
    return look_up(wanted) if found is None else found


def _of_zone(name: Name) -> list[str]:
    """The addresses of some of the zone's name servers; none if they are not found."""
    queries = Queries()
    try:
        servers = [str(one.target) for one in queries.ask(queries.zone(name), NS)]
        return [str(one.address) for server in servers[:4] for one in queries.ask(server, A)]
    except DnsFailedError:
        return []


def check(path: Path = WANTED, look: Lookup = authoritative) -> Iterator[Finding]:
    """Checks each expected record."""
    try:
        wanted = read(path)
    except (OSError, UnicodeDecodeError, DNSException) as error:
        yield unknown(SUBJECT, "all", f"{path} can't be read: {error}")
        return
    for record in (compare(one, look) for one in wanted):
        what = f"{record.name} {record.type}"
        if record.state == "right":
            yield good(SUBJECT, what, "is published")
        elif record.state == "can't say":
            yield unknown(SUBJECT, what, "DNS does not answer")
        else:
            found = "is missing" if record.state == "missing" else f"is {', '.join(record.found)}"
            publish = "; ".join(f"{record.name}. {record.type} {text}" for text in record.wanted)
            yield Finding(SUBJECT, what, FindingState.BAD, found, _why(record), f"publish: {publish}")


def check_reverse(
    hostname: str, addresses: Sequence[str], look: Callable[[str], str | None]
) -> Iterator[Finding]:
    """Checks the reverse name of each public address. `look`: looks one up, None without an answer."""
    for address in addresses:
        found, what = look(address), f"{address} PTR"
        if found is None:
            yield unknown(SUBJECT, what, "has no answer")
        elif found.lower().rstrip(".") == hostname:
            yield good(SUBJECT, what, f"is {hostname}")
        else:
            yield Finding(
                SUBJECT, what, FindingState.SOON, f"is {found or 'missing'}",
                "large providers refuse mail by SMTP from a host without a name",
                f"ask your provider for: {from_address(address)} PTR {hostname}.",
            )  # fmt: skip


def reverse(address: str) -> str | None:
    """The reverse name of an address; empty if it has none, None if DNS does not answer."""
    try:
        names = Queries().ask(from_address(address), PTR)
    except DnsFailedError:
        return None
    return str(names[0]) if names else ""


def _why(record: Record) -> str:
    if record.type in ("A", "AAAA", "MX"):
        return "mail and apps can't find this host"
    if record.type == "TXT":
        return "without it, peers refuse mail from this relay"
    return "some clients or peers use it"
