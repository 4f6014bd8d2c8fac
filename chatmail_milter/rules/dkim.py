"""Is an incoming message signed by the domain of its author? Read from what OpenDKIM said about it.

Who wrote an Authentication-Results field can't be seen from it: any sender may put our name in one. Three
things together make the first such field OpenDKIM's own. Postfix drops those that a message brings along
before a milter sees it (`header_checks` of the incoming services). OpenDKIM adds its own above all that a
message has, whatever it found (`AlwaysAddARHeader`), and is asked before us. And when it can't be asked,
Postfix takes no message (`milter_default_action = tempfail`). So only the first with our name counts, and
`DkimFacts.forged` has the others removed: they were not OpenDKIM's, and readers after us trust our name.

OpenDKIM adds nothing where the signer's DNS fails; a signed message without a result is that case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from chatmail_milter import codes
from chatmail_milter.rules import results
from chatmail_milter.verdict import Verdict

_QUOTED_OCTET = re.compile(rb"=([0-9A-Fa-f]{2})")
# RFC 6376, 3.5: `d` and `s` are domain names, `i` is an address, quoted-printable.
_DOMAIN_TAGS = (b"d", b"s")
_DOMAIN = re.compile(rb"[A-Za-z0-9._-]*")
_PLAIN_IDENTITY = re.compile(rb"[!#-'*-:<-\[\]-~]*")


@dataclass(slots=True)
class DkimFacts:
    """What the header of one message says of DKIM. Give every field to `see`, in order.

    `forged`: which Authentication-Results fields are not OpenDKIM's though they bear our name, counted from
    1 among the fields of that name. `plain`: no signature is written so that its result could mislead.
    """

    authserv_id: str
    signed: bool = False
    plain: bool = True
    found: results.Results | None = None
    forged: list[int] = field(default_factory=list)
    _seen: int = 0

    def see(self, name: bytes, value: bytes) -> None:
        """The next field of the header; `name` in lower case."""
        if name == b"dkim-signature":
            self.signed = True
            self.plain = self.plain and is_plain(value)
        elif name == b"authentication-results":
            self._seen += 1
            said = results.parse(value)
            if said.authserv_id != self.authserv_id.lower():
                return
            if self.found is None:
                self.found = said
            else:
                self.forged.append(self._seen)


def is_plain(signature: bytes) -> bool:
    """Whether a DKIM-Signature's `d`, `i` and `s` hold nothing that has a meaning in OpenDKIM's result.

    It prints them as they are, `i` decoded: `i=x=3B=20dkim=3Dpass=20header.d=3Dpeer.example@evil.example`
    makes a second result that no signature stands behind.
    """
    for tag in signature.split(b";"):
        name, _, value = tag.partition(b"=")
        name, value = name.strip(), value.strip()
        if name in _DOMAIN_TAGS and not _DOMAIN.fullmatch(value):
            return False
        if name == b"i" and not _PLAIN_IDENTITY.fullmatch(_QUOTED_OCTET.sub(_octet, value)):
            return False
    return True


def _octet(matched: re.Match[bytes]) -> bytes:
    return bytes((int(matched[1], 16),))


def judge(facts: DkimFacts, domain: str) -> Verdict:
    """Whether `domain`, in canonical form, signed the message: pass, 554, or 451 when DNS kept it unknown."""
    if not facts.plain:
        return codes.INVALID_DKIM.because("dkim-not-plain")
    if facts.found is None:
        return codes.DKIM_DNS if facts.signed else codes.NO_DKIM
    said = facts.found.dkim
    if any(one.result == "pass" and one.domain == domain for one in said):
        return codes.PASS
    if any(one.result == "temperror" and one.domain in ("", domain) for one in said):
        return codes.DKIM_DNS
    if not facts.signed and all(one.result == "none" for one in said):
        return codes.NO_DKIM
    return codes.INVALID_DKIM
