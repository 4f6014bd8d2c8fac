"""The operator's policy as verdicts: blocklist, federation, suspended accounts.

All but `author` need only the login or the envelope. Addresses and domains are canonical (`address.parse`). A
sender's domain is looked up even if the address has no canonical form; else a quoted local part would evade
the lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError, Peer
from chatmail_milter.rules.blocklist import Blocklist
from chatmail_milter.verdict import Verdict

Rule = Literal["open", "closed"]


@dataclass(frozen=True, slots=True)
class Federation:
    """`open`: all domains except the `exceptions`. `closed`: only the `exceptions`.

    An exception is a canonical domain (`example.org`, an IP literal in brackets), or `.example.org` for all
    subdomains without the domain itself.
    """

    rule: Rule = "open"
    exceptions: frozenset[str] = frozenset()

    def admits(self, domain: str) -> bool:
        """Whether mail may be sent to and accepted from a canonical domain."""
        excepted = not self.exceptions.isdisjoint(address.patterns(domain))
        return excepted is (self.rule == "closed")


@dataclass(frozen=True, slots=True)
class Policy:
    """An immutable snapshot of the policy."""

    blocklist: Blocklist
    federation: Federation
    suspended: frozenset[str]

    def login(self, user: str, peer: Peer) -> Verdict:
        """Whether `user`, a canonical address of this relay, may log in from `peer`."""
        if user in self.suspended:
            return codes.SUSPENDED
        if self.blocklist.has_peer(peer):
            return codes.BLOCKED_USER.because("blocked-network")
        return codes.BLOCKED_USER if self.blocklist.has_address(user) else codes.PASS

    def submission(self, sender: str, peer: Peer) -> Verdict:
        """Whether the logged-in `sender` may send. As `login`, which may have been before a policy change."""
        return self.login(sender, peer)

    def incoming(self, sender: str, peer: Peer) -> Verdict:
        """Whether `peer` may send mail with the envelope sender `sender` (empty: null sender)."""
        if self.blocklist.has_peer(peer):
            return codes.BLOCKED_SENDER.because("blocked-network")
        return self._from_outside(sender) if sender else codes.PASS

    def author(self, author: str) -> Verdict:
        """Whether to accept a message with this author in From."""
        return self._from_outside(author)

    def outgoing(self, domain: str) -> Verdict:
        """Whether our users may send to `domain`."""
        if self.blocklist.has_domain(domain):
            return codes.BLOCKED_RECIPIENT
        return codes.PASS if self.federation.admits(domain) else codes.FEDERATION_CLOSED

    def _from_outside(self, mailbox: str) -> Verdict:
        domain = _domain(mailbox)
        if mailbox in self.blocklist.names or self.blocklist.has_domain(domain):
            return codes.BLOCKED_SENDER
        return codes.PASS if self.federation.admits(domain) else codes.FEDERATION_CLOSED


def _domain(mailbox: str) -> str:
    domain = address.domain_of(mailbox)
    if '"' not in mailbox and mailbox.islower():
        return domain
    try:
        return address.domain(domain)
    except MalformedAddressError:
        return domain.lower()


OPEN = Policy(Blocklist(), Federation(), frozenset())
