"""What peers may send us: encrypted, and signed by the author's domain or from one of its hosts."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError, Peer
from chatmail_milter.gate import fields
from chatmail_milter.gate.gate import Classification
from chatmail_milter.rules import dkim
from chatmail_milter.rules.dkim import DkimFacts, SignatureOutcome
from chatmail_milter.rules.signature import Signature
from chatmail_milter.verdict import Action, Verdict


class Origin(Enum):
    """Whether the peer's address is one that the author's domain, or one of its mail hosts, has in DNS."""

    PROVEN = "proven"
    UNPROVEN = "unproven"
    # DNS failed.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of where a message is from.

    `outcomes`: of the signatures that `dkim.undecided` names. `origin`: of a message without a signature;
    UNPROVEN if DNS was not asked. `logged_in`: the author is a user of another domain of this host, who
    submitted it.
    """

    peer: Peer
    signatures: DkimFacts
    outcomes: Mapping[Signature, SignatureOutcome] = field(default_factory=lambda: MappingProxyType({}))
    origin: Origin = Origin.UNPROVEN
    logged_in: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and whether the envelope sender must become the null sender if the message passes.

    It must where it isn't the author: the author is whom DKIM vouches for, and a bounce to anybody else
    would be backscatter.
    """

    verdict: Verdict
    null_sender: bool = False


def author_of(from_values: Sequence[bytes]) -> str | None:
    """Who wrote the message, canonical; None where its From doesn't name one."""
    try:
        return fields.author(from_values)
    except MalformedAddressError:
        return None


def content(author: str | None, found: Classification) -> Verdict:
    """The verdict on a message of `author`, but for the question whether it comes from there."""
    if found.verdict.action is Action.PASS and author is None:
        # With no author there is no domain that could have signed.
        return codes.INVALID_DKIM.because("from-malformed")
    return found.verdict


def judge(
    author: str | None,
    mail_from: str,
    found: Classification,
    evidence: Evidence,
    *,
    any_ip_literal: bool,
) -> Judgement:
    """The judgement on a message of `author`.

    `any_ip_literal` is the config's `ip_literals = open`.
    """
    by_content = content(author, found)
    if author is None or by_content.action is not Action.PASS:
        return Judgement(by_content)
    domain = address.domain_of(author)
    literal = address.ip_literal(domain)
    if evidence.logged_in:
        # Signed, if at all, by a milter after this one.
        origin = codes.PASS
    elif literal is not None:
        # No DNS, so no DKIM: the connection itself must vouch for the address.
        origin = codes.PASS if any_ip_literal or _same(evidence.peer, literal) else codes.IP_LITERAL_MISMATCH
    elif evidence.signatures.signed:
        origin = dkim.judge(evidence.signatures, domain, evidence.outcomes)
    else:
        origin = _UNSIGNED[evidence.origin]
    if origin.action is not Action.PASS:
        return Judgement(origin)
    return Judgement(found.verdict, null_sender=bool(mail_from) and mail_from != author)


# A signature that is there and fails is refused all the same: only a peer that signs nothing is known by its
# host.
_UNSIGNED: Mapping[Origin, Verdict] = MappingProxyType(
    {Origin.PROVEN: codes.PASS, Origin.UNPROVEN: codes.NO_DKIM, Origin.UNKNOWN: codes.ORIGIN_DNS}
)


def _same(peer: Peer, literal: Peer) -> bool:
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return peer is not None and peer == literal
