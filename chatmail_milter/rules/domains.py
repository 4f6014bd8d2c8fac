"""Which mail is judged where Postfix serves other domains too: what concerns a chat domain, and nothing else.

A user's session concerns one if the sender or the login is of one, or a recipient is. A peer's mail does if a
recipient is of one, or the envelope sender, which is refused then: senders of ours log in. All other mail
passes as it is, with one exception: no user of another domain may name a chat domain in From.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.gate import fields
from chatmail_milter.gate.gate import Direction
from chatmail_milter.rules.submission import quotable
from chatmail_milter.verdict import Verdict

# RFC 5322, 3.6: a message has one From. With so many it may name anybody.
AUTHORS_KEPT = 4


@dataclass(frozen=True, slots=True)
class ChatDomains:
    """Canonical names; none means that every domain here is one."""

    names: frozenset[str] = frozenset()

    @property
    def are_all(self) -> bool:
        """Whether all mail is judged."""
        return not self.names

    def named_in(self, mailboxes: Iterable[str]) -> bool:
        """Whether one of these spellings of a mailbox is of a chat domain, or may be.

        One spelling is the client's, another what Postfix made of it, empty if it didn't say: to Postfix
        `u%chat.example@other.example`, `chat.example!u` and `u` can all be `u@chat.example`. Without
        Postfix's, a spelling that is none of RFC 5321's is taken for a chat domain's.
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


class Concern(Enum):
    """What becomes of a recipient: judged by our rules, let by, or told to come in another transaction."""

    JUDGED = "judged"
    OTHERS = "others"
    SPLIT = "split"


class Sorter:
    """The recipients of one transaction, in order.

    `road` says whether Postfix took it from a user or from a peer. `sender` is the canonical envelope sender,
    `spellings` are those of `ChatDomains.named_in` for it. `login` is the canonical login, empty if Postfix
    named none.
    """

    def __init__(
        self, domains: ChatDomains, road: Direction, sender: str, spellings: Iterable[str], login: str
    ) -> None:
        self._domains = domains
        self._road = road
        self._sender, self._login = sender, login
        users = road is Direction.OUT
        self._ours = domains.named_in(spellings) or (users and address.domain_of(login) in domains.names)
        # To us another domain's user is what a peer is, but for the login.
        self.direction = Direction.OUT if users and self._ours else Direction.IN
        self._seen: set[Concern] = set()

    @property
    def lets_by(self) -> bool:
        """Whether there is a recipient whose mail is not judged."""
        return Concern.OTHERS in self._seen

    @property
    def watches_author(self) -> bool:
        """Whether From is to be looked at by `forged_author`."""
        return self._road is Direction.OUT and not self._ours

    def refused_sender(self) -> Verdict | None:
        """Why nothing is taken from this sender; None if the rules go on deciding."""
        if self._road is Direction.IN:
            # Where all mail is judged, Postfix knows its own senders (postfix/our_senders).
            return codes.OWN_SENDER if self._ours and not self._domains.are_all else None
        if not self._ours or not self._sender or self._login == self._sender:
            return None
        # Where all mail is judged and Postfix names no login, it has compared the two itself.
        return None if self._domains.are_all and not self._login else codes.NOT_OWNED

    def sort(self, spellings: Iterable[str]) -> Concern:
        """The next recipient that Postfix takes.

        A peer's message is for recipients of one kind, so that each kind gets it by its own rules: the peer's
        queue sends the rest again. A user's app would fail it as a whole, so there our rules decide for all.
        """
        judged = self._ours or self._domains.named_in(spellings)
        concern = Concern.JUDGED if judged else Concern.OTHERS
        if self._road is Direction.IN and self._seen - {concern}:
            return Concern.SPLIT
        self._seen.add(concern)
        return concern


def forged_author(domains: ChatDomains, values: Sequence[bytes], mail_from: str) -> Verdict | None:
    """The refusal of a message of another domain's user whose From names a chat domain, else None.

    `values` are those of its From fields, `AUTHORS_KEPT` of them at most.
    """
    try:
        author = fields.author(values)
    except MalformedAddressError:
        # What programs read differently may name one to some of them.
        whole = b" ".join(values).lower()
        many = len(values) == AUTHORS_KEPT
        if not many and not any(f"@{name}".encode() in whole for name in domains.names):
            return None
        author = quotable(fields.unfolded(b", ".join(values)))
    else:
        if address.domain_of(author) not in domains.names:
            return None
    return codes.invalid_from(quotable(author), quotable(mail_from))


def _domain(mailbox: str) -> str | None:
    """The canonical domain, None where there is none."""
    _, at, text = mailbox.rpartition("@")
    try:
        return address.domain(text.rstrip(".")) if at else None
    except MalformedAddressError:
        return None


def _is_odd(mailbox: str) -> bool:
    """Whether the local part may hold another domain: a route, or a quoted address (RFC 5321, 4.1.2)."""
    return any(c in mailbox.rpartition("@")[0] for c in '%!@"')
