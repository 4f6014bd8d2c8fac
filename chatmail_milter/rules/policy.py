"""What an operator decided about users and peers, as verdicts: blocklist, federation, suspended accounts.

Asked before anything is known of a message but its envelope, but for `author`. Addresses and domains are
canonical (`address.parse`); of a sender that has no such form, its domain is looked for all the same, or a
quoted local part would pass by every list.
"""

from __future__ import annotations

from dataclasses import dataclass

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError, Peer
from chatmail_milter.rules.blocklist import Blocklist
from chatmail_milter.rules.federation import Federation
from chatmail_milter.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Policy:
    """One state of it; it never changes."""

    blocklist: Blocklist
    federation: Federation
    suspended: frozenset[str]

    def login(self, user: str, peer: Peer) -> Verdict:
        """May `user`, a canonical address of ours, log in from `peer`?"""
        if user in self.suspended:
            return codes.SUSPENDED
        if self.blocklist.has_peer(peer):
            return codes.BLOCKED_USER.because("blocked-network")
        return codes.BLOCKED_USER if self.blocklist.has_address(user) else codes.PASS

    def submission(self, sender: str, peer: Peer) -> Verdict:
        """May `sender`, who is logged in, send from `peer`? A session may be older than the change."""
        return self.login(sender, peer)

    def incoming(self, sender: str, peer: Peer) -> Verdict:
        """May `peer` send us mail whose envelope sender is `sender`, empty for the null sender?"""
        if self.blocklist.has_peer(peer):
            return codes.BLOCKED_SENDER.because("blocked-network")
        return self._from_outside(sender) if sender else codes.PASS

    def author(self, author: str) -> Verdict:
        """May a message of this author, as its From says, come in?"""
        return self._from_outside(author)

    def outgoing(self, domain: str) -> Verdict:
        """May our users' mail go to `domain`?"""
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
