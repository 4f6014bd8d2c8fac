"""The rule for peers' mail: it passes the gate, and the author's domain signed it or its hosts sent it."""

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
    """Whether the peer's IP address is in DNS as one of the author's domain or of its MX hosts.

    `UNKNOWN`: DNS failed.
    """

    PROVEN = "proven"
    UNPROVEN = "unproven"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The facts about a message's origin.

    `outcomes`: of the signatures from `dkim.undecided`. `origin`: for messages without a signature; UNPROVEN
    if DNS was not queried. `logged_in`: a user of another domain of this host submitted it.
    """

    peer: Peer
    signatures: DkimFacts
    outcomes: Mapping[Signature, SignatureOutcome] = field(default_factory=lambda: MappingProxyType({}))
    origin: Origin = Origin.UNPROVEN
    logged_in: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and whether to replace the envelope sender by the null sender if the message passes.

    That is done if it differs from the author: only the author's domain is verified, so a bounce to another
    address could be backscatter.
    """

    verdict: Verdict
    null_sender: bool = False


def author_of(from_values: Sequence[bytes]) -> str | None:
    """The author's canonical address, given the values of From; None if they don't name exactly one."""
    try:
        return fields.author(from_values)
    except MalformedAddressError:
        return None


def content(author: str | None, found: Classification) -> Verdict:
    """The verdict by content alone: what the gate found, and a well-formed From."""
    if found.verdict.action is Action.PASS and author is None:
        # Without an author there is no domain whose signature could be checked.
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
    """The verdict on a peer's message.

    `author`: from `author_of`. `mail_from`: canonical envelope sender. `found`: the gate's classification.
    `any_ip_literal`: accept an author at an IP literal from any address (the setting `ip_literals = open`).
    """
    by_content = content(author, found)
    if author is None or by_content.action is not Action.PASS:
        return Judgement(by_content)
    domain = address.domain_of(author)
    literal = address.ip_literal(domain)
    if evidence.logged_in:
        # The login proves the origin; a signing milter may come after this one.
        origin = codes.PASS
    elif literal is not None:
        # An IP literal has no DKIM keys in DNS, so the peer must connect from that address.
        origin = codes.PASS if any_ip_literal or _same(evidence.peer, literal) else codes.IP_LITERAL_MISMATCH
    elif evidence.signatures.signed:
        origin = dkim.judge(evidence.signatures, domain, evidence.outcomes)
    else:
        origin = _UNSIGNED[evidence.origin]
    if origin.action is not Action.PASS:
        return Judgement(origin)
    return Judgement(found.verdict, null_sender=bool(mail_from) and mail_from != author)


# Only for messages without any signature: one that fails is refused, wherever it comes from.
_UNSIGNED: Mapping[Origin, Verdict] = MappingProxyType(
    {Origin.PROVEN: codes.PASS, Origin.UNPROVEN: codes.NO_DKIM, Origin.UNKNOWN: codes.ORIGIN_DNS}
)


def _same(peer: Peer, literal: Peer) -> bool:
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return peer is not None and peer == literal
