"""Selects the mail that the rules apply to, where Postfix serves chat domains and other domains.

The rules apply to a submission if its sender, login or a recipient is in a chat domain. They apply to a
peer's mail if a recipient is; if its envelope sender is in a chat domain, it is refused, because our own
senders log in. Other mail passes unchanged, with one exception: OpenDKIM may sign mail of users of other
domains and of programs on this host, so their mail must not have a chat domain in From.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.gate import fields
from chatmail_milter.gate.gate import Direction
from chatmail_milter.rules.submission import quotable
from chatmail_milter.verdict import Verdict

# RFC 5322, 3.6: a message has one From. With this many, it is refused like one that names a chat domain.
AUTHORS_KEPT = 4


@dataclass(frozen=True, slots=True)
class ChatDomains:
    """The canonical names of the chat domains. If empty, every domain of this Postfix is one."""

    names: frozenset[str] = frozenset()

    @property
    def are_all(self) -> bool:
        """Whether the rules apply to all mail."""
        return not self.names

    def named_in(self, mailboxes: Iterable[str]) -> bool:
        """Whether a mailbox is in a chat domain, or may be.

        `mailboxes`: the address as the client wrote it, then as Postfix rewrote it (empty if unknown). To
        Postfix, `u%chat.example@other.example`, `chat.example!u` and `u` may all be `u@chat.example`. If
        Postfix's form is unknown, an address with a malformed domain or an unusual local part counts as one
        of a chat domain.
        """
        if self.are_all:
            return True
        given, *resolved = [one.strip("<>") for one in mailboxes if one.strip("<>")] or [""]
        if not given:
            return False  # the null sender
        domains = [_domain(one) for one in (given, *resolved)]
        if any(domain in self.names for domain in domains):
            return True
        return not resolved and (domains[0] is None or _is_odd(given))


ALL = ChatDomains()


class RecipientScope(Enum):
    """How a recipient is treated.

    `JUDGED`: by the rules. `OTHERS`: not a matter of the rules. `SPLIT`: tempfailed, to be sent in a
    transaction of its own.
    """

    JUDGED = "judged"
    OTHERS = "others"
    SPLIT = "split"


class RecipientSorter:
    """Decides for one transaction which recipients the rules apply to.

    `road`: whether the message is a submission or from a peer. `sender`: the canonical envelope sender, and
    `spellings` its forms for `ChatDomains.named_in`. `login`: the canonical SASL login, empty if unknown.
    `local`: whether it is from this host, by loopback or sendmail(1).
    """

    def __init__(
        self,
        domains: ChatDomains,
        road: Direction,
        sender: str,
        spellings: Iterable[str],
        login: str,
        *,
        local: bool = False,
    ) -> None:
        self._domains = domains
        self._inside = local or bool(login)
        self._road = road
        self._sender, self._login = sender, login
        users = road is Direction.OUT
        self._ours = domains.named_in(spellings) or (users and address.domain_of(login) in domains.names)
        # A user of another domain is treated like a peer that has logged in.
        self.direction = Direction.OUT if users and self._ours else Direction.IN
        self._seen: set[RecipientScope] = set()

    @property
    def lets_by(self) -> bool:
        """Whether there is a recipient that the rules don't apply to."""
        return RecipientScope.OTHERS in self._seen

    @property
    def watches_author(self) -> bool:
        """Whether `forged_author` has to check From.

        Of a peer's mail to a chat domain it has not: there DKIM decides, so a list on this host may send a
        chat domain's mail back to it.
        """
        if self._domains.are_all or self._ours:
            return False
        return self._road is Direction.OUT or (self._inside and RecipientScope.JUDGED not in self._seen)

    def refused_sender(self) -> Verdict | None:
        """The refusal of this envelope sender; None if it is not refused here."""
        if self._road is Direction.IN:
            # If the rules apply to all mail, Postfix refuses these itself (postfix/our_senders).
            return codes.OWN_SENDER if self._ours and not self._domains.are_all else None
        if not self._ours or not self._sender or self._login == self._sender:
            return None
        # If the rules apply to all mail and the login is unknown, Postfix has compared the two itself.
        return None if self._domains.are_all and not self._login else codes.NOT_OWNED

    def sort(self, spellings: Iterable[str]) -> RecipientScope:
        """Classifies the next recipient that Postfix accepts, given its forms for `ChatDomains.named_in`.

        In a peer's transaction all recipients must be of the kind of the first, so that either the rules
        apply or not; others are tempfailed, and the peer's queue sends to them again. In a submission the
        rules apply as soon as one recipient is in a chat domain: an app would treat a tempfail as a failure
        of the message.
        """
        judged = self._ours or self._domains.named_in(spellings)
        concern = RecipientScope.JUDGED if judged else RecipientScope.OTHERS
        if self._road is Direction.IN and self._seen - {concern}:
            return RecipientScope.SPLIT
        self._seen.add(concern)
        return concern


def forged_author(domains: ChatDomains, values: Sequence[bytes], mail_from: str) -> Verdict | None:
    """The refusal of a message by a user of another domain whose From names a chat domain; else None.

    `values`: of its From fields, at most `AUTHORS_KEPT`. `mail_from`: quoted in the reply.
    """
    try:
        author = fields.author(values)
    except MalformedAddressError:
        # Programs read a malformed From differently: refuse it if some may find a chat domain in it.
        if len(values) < AUTHORS_KEPT and not _may_name(domains, values):
            return None
        author = quotable(fields.unfolded(b", ".join(values)))
    else:
        if address.domain_of(author) not in domains.names:
            return None
    return codes.invalid_from(quotable(author), quotable(mail_from))


# What programs drop, or read over, between the parts of an address (RFC 5322, 4.4).
_BETWEEN = re.compile(r'[\s\x00-\x1f"\\]+')
_PIECE = re.compile(r"([^<,;]*)([<,;]?)")


def _may_name(domains: ChatDomains, values: Sequence[bytes]) -> bool:
    """Whether a program may read an address of a chat domain from malformed From fields. Linear time."""
    text = unicodedata.normalize("NFKC", b", ".join(values).decode(errors="replace")).lower()
    text = _BETWEEN.sub("", text.replace("\N{IDEOGRAPHIC FULL STOP}", "."))
    # An encoded word (RFC 2047) that is no display name: some programs decode it, then look for an address.
    if any("=?" in piece and end != "<" for piece, end in _PIECE.findall(text)):
        return True
    for name in (form for one in domains.names for form in (one, address.in_unicode(one))):
        # A comment can stand within an address, and before it.
        if f"@{name}" in text or ("(" in text and all(label in text for label in name.split("."))):
            return True
    return False


def _domain(mailbox: str) -> str | None:
    """The canonical domain of an address, None if it has none or a malformed one."""
    _, at, text = mailbox.rpartition("@")
    try:
        return address.domain(text.rstrip(".")) if at else None
    except MalformedAddressError:
        return None


def _is_odd(mailbox: str) -> bool:
    """Whether the local part may hold another domain: a route, or a quoted address (RFC 5321, 4.1.2)."""
    return any(c in mailbox.rpartition("@")[0] for c in '%!@"')
