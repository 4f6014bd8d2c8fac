"""Addresses as a chatmail relay knows them: lower case, no comments, no source routes.

Takes an RFC 5321 mailbox in any form that peers send and gives one canonical form, so that
`U@EXAMPLE.org`, `<u@example.org>`, `u@1.2.3.4` and `u@[1.2.3.4]` compare as they should. Not a parser for
header fields (that is `gate.fields.author`), and quoted local parts are refused: no chatmail account has one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import idna

# Whom a connection is from; None for a process of this host.
Peer = ipaddress.IPv4Address | ipaddress.IPv6Address | None

# RFC 5321, 4.1.2: Dot-string of atext. 4.5.3.1: 64 octets of local part.
_LOCAL_PART = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
# RFC 1035, 3.1: 255 octets as DNS sends a name, which are two more than its text has.
_LONGEST_DOMAIN = 253


class MalformedAddressError(ValueError):
    """The text is not one mailbox; the message says what is wrong with it, without repeating it."""


def parse(text: str) -> str:
    """Canonical `local@domain` of one mailbox, angle brackets optional.

    IP domains come out bracketed: `u@[1.2.3.4]`, `u@[IPv6:2001:db8::1]`. Raises `MalformedAddressError`.
    """
    bare = text.strip(" \t")
    if bare.startswith("<") and bare.endswith(">"):
        bare = bare[1:-1]
    if not bare.isprintable() or any(c in bare for c in ' <>,;"\\'):
        raise MalformedAddressError("an address has no spaces, quotes, commas or control characters")
    local_part, at, domain_text = bare.rpartition("@")
    if not at:
        raise MalformedAddressError("an address is written local-part@domain")
    local_part = local_part.lower()
    if len(local_part) > 64 or not _LOCAL_PART.match(local_part):
        raise MalformedAddressError("the local part is malformed")
    return f"{local_part}@{domain(domain_text)}"


def is_canonical(text: str) -> bool:
    """Whether `text` is a mailbox in canonical form. No account has another spelling."""
    try:
        return parse(text) == text
    except MalformedAddressError:
        return False


def domain(text: str) -> str:
    """Canonical domain: lower case A-labels, or a bracketed IP literal. Raises `MalformedAddressError`."""
    literal = ip_literal(text)
    if literal is not None:
        return f"[IPv6:{literal}]" if literal.version == 6 else f"[{literal}]"
    name = text.lower()
    if not name.isascii():
        name = _a_labels(name)
    if len(name) > _LONGEST_DOMAIN or not all(_LABEL.match(label) for label in name.split(".")):
        raise MalformedAddressError("the domain is malformed")
    return name


def _a_labels(name: str) -> str:
    # IDNA 2008 (RFC 5891) after the mapping of UTS 46. Not Python's own codec: that is IDNA 2003, in which
    # `faß` is `fass`, somebody else's domain. Label by label: IDNA has no underscore, but test domains do.
    try:
        labels = idna.uts46_remap(name, std3_rules=False, transitional=False).split(".")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels)
    except (idna.IDNAError, UnicodeError):
        raise MalformedAddressError("the domain is malformed") from None


def in_unicode(name: str) -> str:
    """A canonical domain as people write it, with U-labels (RFC 5890, 2.3.2.1)."""
    try:
        return ".".join(
            idna.ulabel(label) if label.startswith("xn--") else label for label in name.split(".")
        )
    except (idna.IDNAError, UnicodeError):
        return name


def domain_of(address: str) -> str:
    """The domain of a canonical address."""
    return address.rpartition("@")[2]


def patterns(domain_text: str) -> Iterator[str]:
    """How a list may name a canonical domain: `a.b.c` itself, then `.b.c` and `.c`, each for all below it.

    Postfix's meaning: `.b.c` is not `b.c`. An IP literal is below nothing.
    """
    yield domain_text
    if domain_text.startswith("["):
        return
    at = domain_text.find(".")
    while at >= 0:
        yield domain_text[at:]
        at = domain_text.find(".", at + 1)


def ip_literal(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a domain stands for (`1.2.3.4`, `[1.2.3.4]`, `[IPv6:…]`), or None for a name."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare[:5].lower() == "ipv6:":
        bare = bare[5:]
    # Nearly all are names, and it is dear to learn that from an exception.
    if ":" not in bare and not bare[-1:].isdigit():
        return None
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        return None


def trusts_any_certificate(domain_text: str) -> bool:
    """True where nobody verifies a certificate: IP literals, and test domains that begin with `_`."""
    return domain_text.startswith("_") or ip_literal(domain_text) is not None


def network_of(peer: Peer) -> str:
    """The network that counts as one client: an IPv4 address, or the IPv6 /64 of a provider's customer."""
    if isinstance(peer, ipaddress.IPv6Address):
        if peer.ipv4_mapped is not None:
            return str(peer.ipv4_mapped)
        return str(ipaddress.IPv6Network((peer, 64), strict=False).network_address)
    return str(peer)


def site_of(peer: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """The network that one owner of many addresses may have all of: an IPv4 /24, or an IPv6 /48."""
    if isinstance(peer, ipaddress.IPv6Address):
        if peer.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((peer, 48), strict=False))
        peer = peer.ipv4_mapped
    return str(ipaddress.IPv4Network((peer, 24), strict=False))


def network_named(ip: str) -> str | None:
    """`network_of` for an IP address as text; None if it is not one, as for a local program."""
    try:
        return network_of(ipaddress.ip_address(ip))
    except ValueError:
        return None
