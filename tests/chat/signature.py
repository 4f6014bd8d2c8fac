"""DKIM (RFC 6376) by dkimpy, which shares nothing with the relay; keys come from the lab's DNS."""

from __future__ import annotations

import re
from collections.abc import Sequence

import dkim
import dns.resolver
from dns.resolver import NXDOMAIN, NoAnswer, NoNameservers

from tests.chat.deadline import PATIENCE
from tests.lab import signers
from tests.lab.plan import DNS, Paths

_SIGNED_FIELDS = [b"from", b"to", b"subject", b"date", b"message-id", b"content-type", b"secure-join"]


def sign(
    message: bytes,
    domain: str,
    paths: Paths,
    selector: str = signers.SELECTOR,
    besides: Sequence[bytes] = (),
) -> bytes:
    """`message` signed by one of the lab's signers, whose keys are there by any selector.

    `besides`: fields that are signed in addition to the usual ones.
    """
    signature = dkim.sign(
        message,
        selector.encode(),
        domain.encode(),
        signers.private_key(paths, domain).read_bytes(),
        include_headers=[*_SIGNED_FIELDS, *besides, b"from"],
    )
    return bytes(signature) + message


def verified(message: bytes) -> list[str]:
    """The `d=` of every signature of `message` that verifies."""
    found = []
    for number in range(len(signatures(message))):
        one = dkim.DKIM(message)
        try:
            if one.verify(number, dnsfunc=_published):
                found.append(one.domain.decode())
        except dkim.DKIMException:
            continue
    return found


def signatures(message: bytes) -> list[dict[str, str]]:
    """The tags of every DKIM-Signature, white space taken out."""
    header = message.partition(b"\r\n\r\n")[0].decode("latin-1")
    values = re.findall(r"(?im)^dkim-signature[ \t]*:((?:.*\r\n[ \t])*.*)", header)
    return [dict(_tag(one) for one in re.sub(r"\s", "", value).split(";") if one) for value in values]


def _tag(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _published(name: bytes, timeout: float = 5) -> bytes:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [DNS.ip]
    try:
        answer = resolver.resolve(name.decode(), "TXT", lifetime=timeout * PATIENCE)
    except (NXDOMAIN, NoAnswer, NoNameservers):
        # Not for want of time: then the signature would be neither right nor wrong.
        return b""
    return b"".join(answer[0].strings)
