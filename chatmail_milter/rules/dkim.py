"""Is an incoming message signed by the domain of its author? The rule on what OpenDKIM and `origin` found.

Any sender can write our name into an Authentication-Results field. Three things together make the first such
field OpenDKIM's own. Postfix drops the fields that a message brings along before a milter sees them
(`header_checks` of the incoming services). OpenDKIM adds its own above all others, and is asked before us.
And when OpenDKIM is away, Postfix takes no message (`milter_default_action = tempfail`). So only the first
field with our name counts, and `DkimFacts.forged` has the others removed, since readers after us trust our
name.

Of that field only a `pass` counts, and only for the signature that it names by domain, selector and
`header.b`. OpenDKIM verifies three signatures and no more, can't read keys in RSAPublicKey form, and adds no
field where DNS fails. So every other signature of the author's domain is verified again, by
`origin.verifier`: see `undecided`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from chatmail_milter import codes
from chatmail_milter.rules import results, signature
from chatmail_milter.rules.signature import Flaw, Signature
from chatmail_milter.verdict import Verdict

# RFC 6008, 3: what identifies a signature in `header.b` has at least 8 characters.
_SIGNATURE_LEAST = 8
# How many signatures of the author's domain are verified after OpenDKIM, the topmost ones. Lists and
# forwarders leave one or two of the author's; each costs a hash of the header and at worst one question to
# DNS.
MOST_UNDECIDED = 32


class SignatureOutcome(Enum):
    """What verifying one signature gave."""

    PASS = codes.PASS
    INVALID = codes.INVALID_DKIM
    DNS_FAILED = codes.DKIM_DNS
    # No key record: for hours after the first such message it may be DNS that doesn't show it yet.
    KEY_AWAITED = codes.KEY_AWAITED
    KEY_MISSING = codes.INVALID_DKIM.because("dkim-key-missing")
    # Two records, a revoked key, or one that can't be read (RFC 6376, 3.6.1 and 3.6.2.2).
    KEY_UNUSABLE = codes.INVALID_DKIM.because("dkim-key-unusable")


# Of several signatures, the one that is most worth telling decides: a temporary trouble, then what an
# operator of the other side can mend.
_BY_WEIGHT = (
    SignatureOutcome.PASS,
    SignatureOutcome.DNS_FAILED,
    SignatureOutcome.KEY_AWAITED,
    SignatureOutcome.KEY_MISSING,
    SignatureOutcome.KEY_UNUSABLE,
    SignatureOutcome.INVALID,
)


@dataclass(slots=True)
class DkimFacts:
    """What the header of one message says of DKIM. Give every field to `see`, in order.

    `signed`: there is a DKIM-Signature, well-formed or not. `forged`: which Authentication-Results fields are
    not OpenDKIM's though they bear our name, counted from 1 among the fields of that name. `plain`: every
    signature can be read, and none is written so that its result could be taken for another's.
    """

    authserv_id: str
    signed: bool = False
    plain: bool = True
    found: results.Results | None = None
    signatures: list[Signature] = field(default_factory=list)
    forged: list[int] = field(default_factory=list)
    _seen: int = 0

    def see(self, name: bytes, value: bytes) -> None:
        """The next field of the header; `name` in lower case."""
        if name == b"dkim-signature":
            self.signed = True
            parsed = signature.parse(value)
            # (Of one that is malformed to us OpenDKIM may have a result all the same.)
            self.plain = self.plain and parsed is not None and signature.is_plain(value)
            if parsed is not None:
                self.signatures.append(parsed)
        elif name == b"authentication-results":
            self._seen += 1
            said = results.parse(value)
            if said.authserv_id != self.authserv_id.lower():
                return
            if self.found is None:
                self.found = said
            else:
                self.forged.append(self._seen)

    def aligned(self, domain: str) -> list[Signature]:
        """The signatures with `d` equal to `domain`, in canonical form: a domain below does not count."""
        return [one for one in self.signatures if one.domain == domain]

    def passed(self, one: Signature) -> bool:
        """Whether OpenDKIM says that this very signature is valid."""
        if self.found is None or not self.plain:
            return False
        named = [result for result in self.found.dkim if _names(result, one)]
        # Two signatures that one result fits: it may be of either.
        alike = sum(
            other.domain == one.domain and _names(named[0], other) for other in self.signatures if named
        )
        return len(named) == 1 and alike == 1 and named[0].result == "pass"


def undecided(facts: DkimFacts, domain: str) -> list[Signature]:
    """The signatures that decide about a message of `domain` and that OpenDKIM did not call valid, topmost
    first.

    Empty where one that counts is valid already.
    """
    sound = [one for one in facts.aligned(domain) if one.flaw is None]
    if any(facts.passed(one) for one in sound):
        return []
    return sound[:MOST_UNDECIDED]


def judge(facts: DkimFacts, domain: str, outcomes: Mapping[Signature, SignatureOutcome]) -> Verdict:
    """Whether `domain`, in canonical form, signed the message; `outcomes`: of the `undecided` signatures."""
    if not facts.signed:
        return codes.NO_DKIM
    aligned = facts.aligned(domain)
    sound = [one for one in aligned if one.flaw is None]
    if any(facts.passed(one) for one in sound):
        return codes.PASS
    if sound:
        found = {outcomes.get(one, SignatureOutcome.INVALID) for one in sound}
        return next(outcome.value for outcome in _BY_WEIGHT if outcome in found)
    flaws: list[Flaw] = [one.flaw for one in aligned if one.flaw is not None]
    return codes.INVALID_DKIM.because(flaws[0]) if flaws else codes.INVALID_DKIM


def _names(result: results.DkimResult, one: Signature) -> bool:
    return (
        result.domain == one.domain
        and result.selector == one.selector
        and len(result.signature) >= _SIGNATURE_LEAST
        and one.signature.startswith(result.signature)
    )
