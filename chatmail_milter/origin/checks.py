"""The milter's DNS queries: DKIM keys for signatures that OpenDKIM left undecided, and hosts of a domain.

Gathers the facts for `rules.dkim` and `rules.inbound`. Thread-safe.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv6Address

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.address import Peer
from chatmail_milter.origin.canonical import SignedHeader
from chatmail_milter.origin.resolver import Deadline, LookupFailedError, MilterResolver, NoNameError
from chatmail_milter.origin.verifier import fits_body, verify
from chatmail_milter.rules.dkim import SignatureOutcome
from chatmail_milter.rules.inbound import Origin
from chatmail_milter.rules.signature import Signature
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
