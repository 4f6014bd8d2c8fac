"""Checks records that a relay doesn't need, but that do harm if they are wrong: TLSA, MTA-STS, SRV.

Servers that verify DANE (RFC 7672) or MTA-STS (RFC 8461) refuse to deliver if these don't fit, and apps that
look for SRV records (RFC 6186, RFC 8314) connect where they lead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dns.exception import DNSException
from dns.name import from_text
from dns.rdataclass import IN
from dns.rdatatype import SRV, TLSA, TXT
from dns.rrset import RRset

from chatmail_milter.doctor import Finding, FindingState, good, unknown
from chatmail_milter.doctor.certificates import shown
from chatmail_milter.doctor.network import SMTP, fetch
from chatmail_milter.doctor.records import SUBJECT, Lookup, authoritative

SERVICES = {"_imaps": 993, "_imap": 143, "_submissions": 465, "_submission": 587}
# TLSA usages that name the server's own certificate or key (RFC 6698, 2.1.1; RFC 7671, 5.1). The others name
# an authority's, which is not compared here.
_OWN = {"1", "3"}
_LONGEST = 1 << 16  # octets of a policy (RFC 8461, 3.2)

# The certificate that port 25 shows for a name, in DER. Raises `OSError`.
Certificate = Callable[[str], bytes]
# The MTA-STS policy of a domain. Raises `OSError`.
Policy = Callable[[str], str]


def certificate(name: str) -> bytes:
    """Asks this host's port 25. Raises `OSError`."""
    return shown(name, SMTP)


def policy(domain: str) -> str:
    """Fetches it as senders do (RFC 8461, 3.3): HTTPS with a verified certificate. Raises `OSError`."""
    host, path = f"mta-sts.{domain}", "/.well-known/mta-sts.txt"
    status, octets = fetch(host, path, _LONGEST + 1)
    if status != 200:
        raise OSError(f"https://{host}{path} answers {status}")
    if len(octets) > _LONGEST:
        raise OSError(f"https://{host}{path} is longer than {_LONGEST} octets")
    return octets.decode("utf-8", "replace")


def check(
    domain: str,
    host: str,
    look: Lookup = authoritative,
    certificate: Certificate = certificate,
    policy: Policy = policy,
) -> Iterator[Finding]:
    """Checks the records of a mail domain and of its MX, `host`. A domain that is no name has none."""
    try:
        names = [
            (f"_25._tcp.{host}", TLSA), (f"_mta-sts.{domain}", TXT),
            *((f"{service}._tcp.{domain}", SRV) for service in SERVICES),
        ]  # fmt: skip
        wanted = [RRset(from_text(name), IN, kind) for name, kind in names]
    except DNSException:
        return
    published = 0
    for one in wanted:
        what = f"{one.name.to_text(omit_final_dot=True)} {one.rdtype.name}"
        texts = look(one)
        if texts is None:
            # It won't answer the other questions either, each after a while.
            yield unknown(SUBJECT, what, "DNS does not answer")
            return
        if one.rdtype == TXT:
            texts = {text for text in texts if text.startswith("v=STSv1")}
        if not texts:
            continue
        published += 1
        if one.rdtype == TLSA:
            yield _tlsa(what, host, sorted(texts), certificate)
        elif one.rdtype == TXT:
            yield _mta_sts(what, domain, host, policy)
        else:
            port = SERVICES[what.partition(".")[0]]
            yield _srv(what, {f"{name} {port}" for name in (domain, host)}, f"{port} {host}.", sorted(texts))
    if not published:
        yield good(SUBJECT, "TLSA, MTA-STS, SRV", "are not published, and not needed")


def _tlsa(what: str, host: str, texts: Sequence[str], certificate: Certificate) -> Finding:
    try:
        shown = x509.load_der_x509_certificate(certificate(host))
    except (OSError, ValueError) as error:
        return unknown(SUBJECT, what, f"port 25 shows no certificate: {error}")
    key = shown.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    objects = {"0": shown.public_bytes(Encoding.DER), "1": key}
    own = 0
    for text in texts:
        usage, selector, matching, *digest = text.split()
        own += usage in _OWN
        if usage in _OWN and selector in objects and _digest(matching, objects[selector]) == "".join(digest):
            return good(SUBJECT, what, "fits the certificate")
    if own < len(texts):
        return unknown(SUBJECT, what, "names an authority, which can't be checked here")
    return Finding(
        SUBJECT, what, FindingState.BAD, f"does not fit the certificate of port 25: {', '.join(texts)}",
        "servers that verify DANE don't deliver by SMTP",
        f"publish: {what.partition(' ')[0]}. TLSA 3 1 1 {_digest('1', key)}",
    )  # fmt: skip


def _digest(matching: str, octets: bytes) -> str:
    """The association data (RFC 6698, 2.1.3), as a zone file has it."""
    if matching == "0":
        return octets.hex()
    return {"1": hashlib.sha256, "2": hashlib.sha512}.get(matching, hashlib.sha256)(octets).hexdigest()


def _mta_sts(what: str, domain: str, host: str, policy: Policy) -> Finding:
    try:
        lines = [line.partition(":") for line in policy(domain).splitlines()]
    except OSError as error:
        return Finding(
            SUBJECT, what, FindingState.SOON, f"the policy can't be fetched: {error}",
            "servers without an older copy don't verify the certificate of this relay",
            f"serve https://mta-sts.{domain}/.well-known/mta-sts.txt, or remove the record",
        )  # fmt: skip
    names = [value.strip().lower() for key, _, value in lines if key.strip() == "mx"]
    if any(name == host or name == f"*.{host.partition('.')[2]}" for name in names):
        return good(SUBJECT, what, "its policy has the MX")
    return Finding(
        SUBJECT, what, FindingState.BAD, f"its policy has no mx {host}, but: {', '.join(names) or 'none'}",
        "servers that obey the policy don't deliver by SMTP",
        f"add to the policy: mx: {host}; then give the record another id",
    )  # fmt: skip


def _srv(what: str, ours: set[str], wanted: str, texts: Sequence[str]) -> Finding:
    """A record without a host, `.`, says that there is no such service (RFC 2782)."""
    wrong = []
    for text in texts:
        _, _, port, target = text.split()
        if target != "." and f"{target.rstrip('.')} {port}" not in ours:
            wrong.append(text)
    if not wrong:
        return good(SUBJECT, what, "leads to this relay")
    return Finding(
        SUBJECT, what, FindingState.BAD, f"is {', '.join(wrong)}", "apps that look for it connect elsewhere",
        f"publish: {what.partition(' ')[0]}. SRV 0 1 {wanted}",
    )  # fmt: skip
