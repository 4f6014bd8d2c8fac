"""One message in the milter: envelope, header, body, verdict. Independent of protocol and library.

The way in determines the rules. It is known by the name of Postfix's service (`milter_macro_daemon_name`) or
by a login, never by an address. Keeps only the parts of the message that the rules need.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError, Peer
from chatmail_milter.config import Config
from chatmail_milter.gate.gate import Direction, Envelope, Gate, Kind
from chatmail_milter.gate.header import Header
from chatmail_milter.gate.layers import NOBODY, Observer
from chatmail_milter.origin.canonical import BodyHash
from chatmail_milter.origin.checks import OriginChecks
from chatmail_milter.rules import dkim, domains, inbound, submission
from chatmail_milter.rules.dkim import DkimFacts
from chatmail_milter.rules.domains import ChatDomains
from chatmail_milter.rules.inbound import Evidence
from chatmail_milter.rules.outgoing import HeaderChange, OutgoingHeader
from chatmail_milter.rules.policy import Policy
from chatmail_milter.rules.signature import Signature
from chatmail_milter.verdict import Action, Verdict

# The roads that are judged, by the name of the service.
ROADS: Mapping[str, Direction] = MappingProxyType(
    {"submission": Direction.OUT, "smtp": Direction.IN, "mxdeliv": Direction.IN, "mixed": Direction.IN}
)
# On this one, recipients that Dovecot will refuse are taken, so a bounce must be able to reach the sender.
BOUNCES = "mixed"

# The road of a service whose name is none of these: by whether the client has logged in.
SUBMITTED, FROM_PEERS = "submission", "smtp"

# Mail that Postfix made itself (bounces), and mail on its way out again that was judged when it came in.
LET_BY = frozenset(("internal", "reinject"))


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """The settings that the rules need.

    `checks`: verify with DNS; without them, only OpenDKIM's results count.
    """

    authserv_id: str
    any_ip_literal: bool
    own_domain: str = ""
    domains: ChatDomains = domains.ALL
    unsigned_by_origin: bool = False
    checks: OriginChecks | None = None

    @classmethod
    def of(cls, config: Config, checks: OriginChecks | None = None) -> RuleSettings:
        return cls(
            config.mail.host,
            config.inbound.ip_literals == "open",
            config.mail.domain,
            ChatDomains(frozenset(config.mail.chat_domains)),
            config.inbound.unsigned == "origin",
            checks,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about a message.

    `null_sender`: if the message passes, the null sender must replace its envelope sender. `forged`:
    positions of Authentication-Results fields to remove, counted from 1 among the fields of that name, last
    first, so that removing one does not renumber the rest. `header`: changes to the header of outgoing mail,
    before it is signed. `domain`: the author's, of inbound mail; proved if the message passes.
    """

    verdict: Verdict
    null_sender: bool = False
    forged: tuple[int, ...] = ()
    header: tuple[HeaderChange, ...] = ()
    domain: str = ""


class Transaction:
    """One message. Call in the order of SMTP: `recipient`, `fields`, `end_of_header`, `body`, `decide`.

    Cheap rules come first: if the header decides, the body is not read.
    """

    def __init__(
        self,
        settings: RuleSettings,
        direction: Direction,
        peer: Peer,
        mail_from: str,
        policy: Policy,
        observer: Observer = NOBODY,
        login: str = "",
    ) -> None:
        """`login`: the canonical login of a user of another domain, whose message is judged as incoming."""
        self._login = login
        self._settings = settings
        self._direction = direction
        self._peer = peer
        self._mail_from = mail_from
        self._policy = policy
        self._observer = observer
        self._recipients: list[str] = []
        self._header = Header()
        self._outgoing = OutgoingHeader()
        self._signatures = DkimFacts(settings.authserv_id, believed=settings.domains.are_all)
        # The whole header, as a signature may cover any of it.
        self._fields: list[tuple[str, bytes]] = []
        self._undecided: list[Signature] = []
        self._body_hashes: dict[str, BodyHash] = {}
        self._author: str | None = None
        self._by_header = codes.PASS
        self._gate: Gate | None = None
        self._empty = True
        self.size = 0

    def recipient(self, text: str) -> None:
        """Takes the next recipient, as in RCPT TO."""
        # Who they are matters only where one might be the sender, and alone.
        if self._direction is Direction.OUT and len(self._recipients) < 2:
            self._recipients.append(canonical(text))

    @property
    def empty(self) -> bool:
        """Whether the message has no body and no field but the verifier's (Authentication-Results)."""
        return self._empty

    def fields(self, given: Iterable[tuple[str, bytes]]) -> None:
        """Takes the next header fields; a value is everything after the colon."""
        outgoing = self._direction is Direction.OUT
        for text, octets in given:
            # RFC 5322, 4.5 has old fields with white space before the colon, and some programs heed those.
            name, value = text.strip().lower().encode(), octets.removeprefix(b" ")
            self.size += len(text) + len(value) + 4
            if name != b"authentication-results":
                self._empty = False
            # (What is refused is not changed, and so needs no list of what would be.)
            if outgoing and not self._header.refused and not self._outgoing.stays(name, value):
                self._header.add_unseen(name, value)
                continue
            self._header.add(name, value)
            # (All of a large message may be fields. What is refused needs no proof of where it is from.)
            if not outgoing and not self._header.refused:
                self._fields.append((text, octets))
                self._signatures.see(name, octets)

    def end_of_header(self) -> None:
        """Ends the header."""
        self.size += 2
        from_values = self._header.values(b"from")
        if self._direction is Direction.OUT:
            self._by_header = submission.sender(from_values, self._mail_from)
        else:
            self._author = inbound.author_of(from_values)
            if self._author is not None:
                self._by_header = self._policy.author(self._author)
                self._undecided = dkim.undecided(self._signatures, address.domain_of(self._author))
                self._body_hashes = {
                    form: BodyHash(form) for form in {one.body_form for one in self._undecided}
                }
        envelope = Envelope(self._mail_from, tuple(self._recipients))
        self._gate = Gate(self._direction, envelope, self._header, self._observer)

    def body(self, chunk: bytes) -> None:
        """Takes the next octets of the body."""
        self.size += len(chunk)
        self._empty = False
        if self._by_header.action is Action.PASS:
            self._the_gate().feed(chunk)
            for body_hash in self._body_hashes.values():
                body_hash.feed(chunk)

    def decide_by_content(self) -> Verdict:
        """Ends the message: the verdict, except for the check of its origin."""
        if self._direction is Direction.OUT or self._by_header.action is not Action.PASS:
            return self.decide().verdict
        return inbound.content(self._author, self._the_gate().finish())

    def decide(self) -> Decision:
        """Ends the message; returns the decision."""
        gate = self._the_gate()
        domain = address.domain_of(self._author or "")
        if self._by_header.action is not Action.PASS:
            return Decision(self._by_header, domain=domain)
        found = gate.finish()
        if self._direction is Direction.OUT:
            changes = self._outgoing.changes(setup_message=found.kind is Kind.SETUP)
            return Decision(found.verdict, header=changes)
        evidence = self._evidence(domain) if found.verdict.action is Action.PASS else self._no_evidence()
        judgement = inbound.judge(
            self._author,
            self._mail_from,
            found,
            evidence,
            any_ip_literal=self._settings.any_ip_literal,
        )
        forged = tuple(reversed(self._signatures.forged))
        return Decision(judgement.verdict, judgement.null_sender, forged, domain=domain)

    @property
    def author(self) -> str | None:
        """The author's canonical address, of inbound mail; None if there is none."""
        return self._author

    def _no_evidence(self) -> Evidence:
        return Evidence(self._peer, self._signatures)

    def _evidence(self, domain: str) -> Evidence:
        """The evidence of the message's origin, by DNS if needed. Expensive, so it comes last."""
        if self._login and self._login == self._author:
            return Evidence(self._peer, self._signatures, logged_in=True)
        checks = self._settings.checks
        if checks is None or not domain or address.ip_literal(domain) is not None:
            return self._no_evidence()
        if self._undecided:
            digests = {form: body_hash.digest() for form, body_hash in self._body_hashes.items()}
            outcomes = checks.verify(self._undecided, self._fields, digests)
            return Evidence(self._peer, self._signatures, outcomes)
        # Mail of our own users doesn't come in unsigned. (This host has the domain's address, too.)
        ours = domain == self._settings.own_domain or domain in self._settings.domains.names
        if self._signatures.signed or ours or not self._settings.unsigned_by_origin:
            return self._no_evidence()
        return Evidence(self._peer, self._signatures, origin=checks.origin(domain, self._peer))

    def _the_gate(self) -> Gate:
        if self._gate is None:
            raise RuntimeError("a body came before the end of the header")
        return self._gate


# The same people write again and again, and this is dearer than what is done with the result.
@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """An envelope address in canonical form, empty for `<>`; unchanged, if there is no such form."""
    try:
        return address.parse(text) if text.strip("<>") else ""
    except MalformedAddressError:
        return text.strip("<>")


def peer_address(text: str | None) -> Peer:
    """The peer's IP address, None for a local process."""
    try:
        return ipaddress.ip_address((text or "").removeprefix("IPv6:"))
    except ValueError:
        return None
