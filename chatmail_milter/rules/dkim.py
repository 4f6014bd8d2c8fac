"""The DKIM rule for incoming mail: the author's domain must have a valid signature on the message.

Results come from OpenDKIM, in an Authentication-Results field (RFC 8601) with our authserv-id. A sender could
forge such a field. The first one is nevertheless OpenDKIM's: Postfix removes those that a message arrives
with (`header_checks` of the incoming services), OpenDKIM adds its own at the top and is called before this
milter, and without OpenDKIM Postfix accepts nothing (`milter_default_action = tempfail`). So only the first
field with our authserv-id counts. The others are listed in `DkimFacts.forged` and removed, because later
readers trust our authserv-id.

In that field only `pass` counts, and only for the signature with the same domain, selector and `header.b`.
OpenDKIM verifies at most three signatures, can't read keys in RSAPublicKey form, and adds no field when DNS
fails. So the remaining signatures of the author's domain (`undecided`) are verified by `origin.verifier`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from chatmail_milter import codes
from chatmail_milter.rules import signature
from chatmail_milter.rules.signature import Flaw, Signature
from chatmail_milter.verdict import Verdict

# RFC 6008, 3: `header.b` has at least the first 8 characters of the signature.
_SIGNATURE_LEAST = 8
# Most signatures of the author's domain that are verified after OpenDKIM, topmost first. Through lists and
# forwarders one or two arrive; each costs a hash of the header and at most one DNS query.
MOST_UNDECIDED = 32
# A quoted string, a comment's parenthesis, a separator, or a word.
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[()=;]|\s+|[^\s()=;"]+|"')
_ESCAPED = re.compile(r"\\.")


class SignatureOutcome(Enum):
    """The result of verifying one signature; the value is the `Verdict` it leads to."""

    PASS = codes.PASS
    INVALID = codes.INVALID_DKIM
    DNS_FAILED = codes.DKIM_DNS
    # No key record. For hours after the first such message, it may be new and not yet visible in DNS.
    KEY_AWAITED = codes.KEY_AWAITED
    KEY_MISSING = codes.INVALID_DKIM.because("dkim-key-missing")
    # Several records, a revoked key, or a malformed one (RFC 6376, 3.6.1 and 3.6.2.2).
    KEY_UNUSABLE = codes.INVALID_DKIM.because("dkim-key-unusable")


# Precedence among the outcomes of several signatures: pass, temporary failures, then what the sending
# domain's operator can fix.
_BY_WEIGHT = (
    SignatureOutcome.PASS,
    SignatureOutcome.DNS_FAILED,
    SignatureOutcome.KEY_AWAITED,
    SignatureOutcome.KEY_MISSING,
    SignatureOutcome.KEY_UNUSABLE,
    SignatureOutcome.INVALID,
)


@dataclass(frozen=True, slots=True)
class DkimResult:
    """The `result` for one signature (RFC 8601, 2.7.1).

    `domain`, `selector`, `signature`: its `header.d`, `header.s` and `header.b` (the first characters of the
    signature, RFC 6008), each empty if missing.
    """

    result: str
    domain: str
    selector: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class AuthenticationResults:
    """One header field: the authserv-id of its writer, and the DKIM results in it."""

    authserv_id: str
    dkim: tuple[DkimResult, ...]


@dataclass(slots=True)
class DkimFacts:
    """Collects the DKIM facts in a message's header; pass every field to `see`, in order.

    `signed`: there is a DKIM-Signature, well-formed or not. `forged`: positions of Authentication-Results
    fields with our authserv-id that are not OpenDKIM's, counted from 1 among the fields of that name.
    `plain`: all signatures are well-formed, and none can make its result look like another signature's.
    `believed`: the first field with our authserv-id is OpenDKIM's; otherwise none is.
    """

    authserv_id: str
    believed: bool = True
    signed: bool = False
    plain: bool = True
    found: AuthenticationResults | None = None
    signatures: list[Signature] = field(default_factory=list)
    forged: list[int] = field(default_factory=list)
    _seen: int = 0

    def see(self, name: bytes, value: bytes) -> None:
        """Takes the next header field; `name` in lower case."""
        if name == b"dkim-signature":
            self.signed = True
            parsed = signature.parse(value)
            # OpenDKIM may report a result even for a signature that we can't parse.
            self.plain = self.plain and parsed is not None and signature.is_plain(value)
            if parsed is not None:
                self.signatures.append(parsed)
        elif name == b"authentication-results":
            self._seen += 1
            said = parse_results(value)
            if said.authserv_id != self.authserv_id.lower():
                return
            if self.believed and self.found is None:
                self.found = said
            else:
                self.forged.append(self._seen)

    def aligned(self, domain: str) -> list[Signature]:
        """The signatures whose `d` equals the canonical `domain`; a subdomain does not count."""
        return [one for one in self.signatures if one.domain == domain]

    def passed(self, one: Signature) -> bool:
        """Whether OpenDKIM reported that this signature is valid."""
        if self.found is None or not self.plain:
            return False
        named = [result for result in self.found.dkim if _names(result, one)]
        # If two signatures match one result, it could belong to either.
        alike = sum(
            other.domain == one.domain and _names(named[0], other) for other in self.signatures if named
        )
        return len(named) == 1 and alike == 1 and named[0].result == "pass"


def undecided(facts: DkimFacts, domain: str) -> list[Signature]:
    """The acceptable signatures of `domain` that OpenDKIM did not report as valid, topmost first.

    Empty if OpenDKIM reported one of them as valid: then no more need to be verified.
    """
    sound = [one for one in facts.aligned(domain) if one.flaw is None]
    if any(facts.passed(one) for one in sound):
        return []
    return sound[:MOST_UNDECIDED]


def judge(facts: DkimFacts, domain: str, outcomes: Mapping[Signature, SignatureOutcome]) -> Verdict:
    """The verdict on a message of the canonical `domain`. `outcomes`: of the `undecided` signatures."""
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


def _names(result: DkimResult, one: Signature) -> bool:
    return (
        result.domain == one.domain
        and result.selector == one.selector
        and len(result.signature) >= _SIGNATURE_LEAST
        and one.signature.startswith(result.signature)
    )


def parse_results(value: bytes) -> AuthenticationResults:
    """Parses the value of Authentication-Results (RFC 8601, 2.2), for the method `dkim` (2.7.1).

    Senders choose part of what a verifier prints there (`d=`, `i=`, `s=`), so a result with a stray word or a
    repeated property is ignored. The authserv-id is empty if missing.
    """
    clauses = list(_clauses(value))
    # A version may follow the authserv-id (RFC 8601, 2.2).
    authserv_id = clauses[0][0].lower() if clauses[0] else ""
    return AuthenticationResults(authserv_id, tuple(filter(None, map(_dkim, clauses[1:]))))


def _clauses(value: bytes) -> Iterator[list[str]]:
    """The clauses between semicolons, each a list of words and equals signs, without comments."""
    text = _ESCAPED.sub("_", value.decode("latin-1"))
    depth = 0
    clause: list[str] = []
    for piece in _PIECE.findall(text):
        if piece in ("(", ")"):
            depth = max(0, depth + (1 if piece == "(" else -1))
        elif depth or piece.isspace():
            continue
        elif piece == ";":
            yield clause
            clause = []
        else:
            clause.append(piece[1:-1] if len(piece) > 1 and piece[0] == '"' else piece)
    yield clause


def _dkim(clause: list[str]) -> DkimResult | None:
    """Parses `dkim=pass header.d=example.org …`; None if it is malformed or of another method."""
    if len(clause) % 3 or any(clause[at] != "=" for at in range(1, len(clause), 3)):
        return None
    names = [name.lower() for name in clause[0::3]]
    if names[:1] != ["dkim"] or len(set(names)) != len(names):
        return None
    said = dict(zip(names, clause[2::3], strict=True))
    return DkimResult(
        said["dkim"].lower(),
        said.get("header.d", "").lower(),
        said.get("header.s", "").lower(),
        said.get("header.b", ""),
    )
