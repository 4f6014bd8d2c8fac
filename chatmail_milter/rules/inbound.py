"""What peers may send us: encrypted, and signed by the domain of its author."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError, Peer
from chatmail_milter.gate import fields
from chatmail_milter.gate.gate import Classification
from chatmail_milter.rules import dkim
from chatmail_milter.rules.dkim import DkimFacts
from chatmail_milter.verdict import Action, Verdict


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
    peer: Peer,
    found: Classification,
    signatures: DkimFacts,
    *,
    any_ip_literal: bool,
) -> Judgement:
    """The judgement on a message of `author` from `peer`.

    `any_ip_literal` is the config's `ip_literals = open`.
    """
    by_content = content(author, found)
    if author is None or by_content.action is not Action.PASS:
        return Judgement(by_content)
    domain = address.domain_of(author)
    literal = address.ip_literal(domain)
    if literal is None:
        origin = dkim.judge(signatures, domain)
    else:
        # No DNS, so no DKIM: the connection itself must vouch for the address.
        origin = codes.PASS if any_ip_literal or _same(peer, literal) else codes.IP_LITERAL_MISMATCH
    if origin.action is not Action.PASS:
        return Judgement(origin)
    return Judgement(found.verdict, null_sender=bool(mail_from) and mail_from != author)


def _same(peer: Peer, literal: Peer) -> bool:
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return peer is not None and peer == literal
