"""The milter's DNS queries: DKIM keys for signatures that OpenDKIM left undecided, and hosts of a domain.

Gathers the facts for `rules.dkim` and `rules.inbound`, and the header octets that a signature covers
(RFC 6376, 3.4, 5.4.2). Thread-safe.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv6Address

from dkim.canonicalization import Relaxed, Simple
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.address import Peer
from chatmail_milter.origin.resolver import Deadline, LookupFailedError, MilterResolver, NoNameError
from chatmail_milter.origin.verifier import fits_body, verify
from chatmail_milter.rules.dkim import SignatureOutcome
from chatmail_milter.rules.inbound import Origin
from chatmail_milter.rules.signature import Signature, unsigned_value
from chatmail_milter.store.missing_keys import MissingKeys

log = logging.getLogger("chatmail-milter")

# Most key records queried per message. Two are usual: an RSA and an Ed25519 key of the author's domain.
MOST_KEYS = 8
# Most MX hosts queried per message: a hostile domain may list hundreds. smtp(8) tries five addresses
# (smtp_mx_address_limit).
MOST_MAIL_HOSTS = 16


class OriginChecks:
    """`key_patience`: seconds for which a missing key record counts as not yet visible in DNS."""

    def __init__(
        self,
        resolver: MilterResolver,
        open_missing_keys: Callable[[], MissingKeys],
        key_patience: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._resolver = resolver
        self._open_missing_keys = open_missing_keys
        self._key_patience = key_patience
        self._clock = clock

    def verify(
        self,
        signatures: Sequence[Signature],
        fields: Sequence[tuple[str, bytes]],
        body_digests: Mapping[str, bytes],
    ) -> dict[Signature, SignatureOutcome]:
        """Verifies signatures in order, up to the first valid one; returns the outcome of each.

        `fields`: the header's, (name, raw value), in order. `body_digests`: SHA-256 of the body by canonical
        form, for the forms that the signatures use.
        """
        deadline = Deadline()
        header = SignedHeader(fields)
        keys: dict[str, list[bytes] | SignatureOutcome] = {}
        found: dict[Signature, SignatureOutcome] = {}
        for one in signatures:
            found[one] = SignatureOutcome.INVALID
            # First, because it costs no DNS query.
            if not fits_body(one, body_digests[one.body_form]):
                continue
            name = f"{one.selector}._domainkey.{one.domain}."
            if name not in keys and len(keys) < MOST_KEYS:
                keys[name] = self._key(name, deadline)
            key = keys.get(name, SignatureOutcome.INVALID)
            if isinstance(key, SignatureOutcome):
                found[one] = key
                continue
            found[one] = verify(one, header.signed_octets(one), key, self._clock())
            if found[one] is SignatureOutcome.PASS:
                break
        return found

    def origin(self, domain: str, peer: Peer) -> Origin:
        """Whether `peer` is an address of the canonical `domain` or of one of its MX hosts, in DNS."""
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        if peer is None:
            return Origin.UNPROVEN
        deadline = Deadline()
        troubled = False
        try:
            if peer in self._resolver.addresses(f"{domain}.", peer.version, deadline):
                return Origin.PROVEN
        except LookupFailedError:
            troubled = True
        except NoNameError:
            return Origin.UNPROVEN
        try:
            hosts = self._resolver.mail_hosts(f"{domain}.", deadline)
        except LookupFailedError:
            return Origin.UNKNOWN
        for host in hosts[:MOST_MAIL_HOSTS]:
            try:
                if peer in self._resolver.addresses(host, peer.version, deadline):
                    return Origin.PROVEN
            except LookupFailedError:
                troubled = True
            except NoNameError:
                continue
        return Origin.UNKNOWN if troubled else Origin.UNPROVEN

    def _key(self, name: str, deadline: Deadline) -> list[bytes] | SignatureOutcome:
        try:
            records = self._resolver.texts(name, deadline)
        except LookupFailedError:
            return SignatureOutcome.DNS_FAILED
        except NoNameError:
            return SignatureOutcome.INVALID
        return records or self._missing(name)

    def _missing(self, name: str) -> SignatureOutcome:
        now = self._clock()
        try:
            since = self._open_missing_keys().missed(name, now)
        except SQLAlchemyError as fault:
            # Not str(fault): it contains the statement's parameters.
            log.error("store=away fault=%s", type(fault).__name__)
            return SignatureOutcome.KEY_AWAITED
        return (
            SignatureOutcome.KEY_AWAITED if now - since < self._key_patience else SignatureOutcome.KEY_MISSING
        )


_FORMS = {"simple": Simple, "relaxed": Relaxed}
_OWN_NAME = "dkim-signature"


class SignedHeader:
    """`fields`: the header's, in order: (name, raw value with the blanks after the colon)."""

    def __init__(self, fields: Sequence[tuple[str, bytes]]) -> None:
        self._fields = fields
        self._places: dict[str, list[int]] = {}
        for at, (name, _) in enumerate(fields):
            self._places.setdefault(name.strip(" \t").lower(), []).append(at)
        self._canonical: dict[str, list[bytes]] = {}

    def signed_octets(self, signature: Signature) -> Iterable[bytes]:
        """The signed header octets, in pieces: the fields in `h`, then the signature's own field.

        A name in `h` means the last field of that name that is not used yet, or nothing if none is left.
        """
        own = self._place_of(signature)
        canonical = self._in_form(signature.header_form)
        left: dict[str, list[int]] = {}
        for name in signature.fields:
            if name not in left:
                left[name] = [at for at in self._places.get(name, ()) if at != own]
            if left[name]:
                yield canonical[left[name].pop()]
        name = self._fields[own][0]
        yield _field(name, unsigned_value(signature.raw), signature.header_form).removesuffix(b"\r\n")

    def _place_of(self, signature: Signature) -> int:
        return next(at for at in self._places[_OWN_NAME] if self._fields[at][1] == signature.raw)

    def _in_form(self, form: str) -> list[bytes]:
        # Cached: there may be many signatures on a header of 256 kB.
        if form not in self._canonical:
            self._canonical[form] = [_field(name, value, form) for name, value in self._fields]
        return self._canonical[form]


def _field(name: str, value: bytes, form: str) -> bytes:
    # Postfix passes folded fields to milters with LF; DKIM signs CRLF.
    folded = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    ((canonical_name, canonical_value),) = _FORMS[form].canonicalize_headers([(name.encode(), folded)])
    return bytes(canonical_name) + b":" + bytes(canonical_value)
