"""Stores permanent refusals of recipients at peers: the next message to them is refused at submission.

A peer's refusal of an earlier message becomes a bounce, which new profiles of Delta Chat ignore. So a
permanent refusal of a recipient, over HTTPS or to smtp(8), is stored for a day (`store.refusals`), and the
policy service repeats it at DATA of a message to that recipient alone. The entry is deleted when the peer
accepts mail for the recipient, or when mail from the recipient arrives (in the milter).

Entries are by recipient, not by sender: the next sender is refused at once instead of by a bounce, and can
learn from it that somebody on this relay wrote there within the day. Only the recipient's own server can
cause an entry. Replies about a sender or a message (X.7.Z and others) are not stored.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import address, codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.config.values import HostPort
from chatmail_milter.store.refusals import RECIPIENT, Refusal, Refusals
from chatmail_milter.store.sanitize import anonymous
from chatmail_milter.verdict import Reply, Verdict
from mxdeliv_app.https.event_loop import may_wait
from mxdeliv_app.mxdeliv.wire import RecipientReply

# RFC 3463, 3.2 and 3.3, and RFC 7505: what is true of the recipient, whichever the message. X.1.0 and X.2.0
# say too little; X.1.7 and X.1.8 are about the sender, X.2.3, X.3.Z, X.6.Z and X.7.Z about a message.
ABOUT_RECIPIENT = frozenset(
    (
        "5.1.1",  # no such mailbox
        "5.1.3",  # no address by this server's rules
        "5.1.4",  # ambiguous
        "5.1.6",  # moved, and no forwarding address
        "5.1.10",  # no mail is accepted there; Exchange says so of unknown users
        "5.2.1",  # disabled
        "5.2.2",  # full
    )
)

# Of smtp(8), see `smtplog`. The status is the peer's own where the peer said anything.
_DELIVERY = re.compile(
    r"[0-9A-Za-z]+: to=<(?P<recipient>[^>]*@[^>@]*)>,(?: orig_to=<[^>]*>,)? relay=(?P<relay>\S+),.*?"
    r" dsn=(?P<status>\d\.\d+\.\d+), status=(?P<outcome>sent|bounced) \((?P<text>.*)\)\Z"
)
_SAID = re.compile(
    r"host \S+ said: (?P<code>5\d\d)[ -](?P<words>.*?)(?: \(in reply to (?P<command>.*) command\))?\Z"
)
# Each line of a reply begins with its code and status; smtp(8) logs them in one.
_CODES = re.compile(r"(?<!\S)(?:5\d\d[ -])?5\.\d{1,3}\.\d{1,3}(?: +|\Z)")
# Our own Postfix will write this before the words; a peer's has done so, too.
_PREFIX = re.compile(rf"<{RECIPIENT}>: +(?:Recipient address rejected: +)?")

_T = TypeVar("_T")

log = logging.getLogger(__name__)


def words_about(recipient: str, text: str) -> str:
    """A peer's text without addresses; `RECIPIENT` stands for the recipient's."""
    marked = re.sub(re.escape(recipient), RECIPIENT, text, flags=re.IGNORECASE)
    words = anonymous(_CODES.sub("", marked), [recipient])
    return words.removeprefix(found[0]) if (found := _PREFIX.match(words)) else words


@dataclass(frozen=True, slots=True)
class RecipientRefusals:
    """Stores and looks up refusals. Thread-safe. Faults of the store are logged, not raised."""

    refusals: Refusals
    https_only: HostPort

    def heard(self, replies: Iterable[RecipientReply]) -> None:
        """Takes a peer's replies over HTTPS."""
        for one in replies:
            if one.reply.accepted:
                self.forget(one.address)
            elif one.reply.final and one.reply.enhanced in ABOUT_RECIPIENT:
                self._remember(one.address, one.reply, None)

    def logged(self, message: str, at: datetime) -> bool:
        """Takes a log line of smtp(8). Returns whether it reports the outcome for a recipient."""
        found = _DELIVERY.match(message)
        host, port = self.https_only.pair
        if found is None or (found["relay"].startswith(host) and found["relay"].endswith(f":{port}")):
            return False
        try:
            recipient = address.parse(found["recipient"])
        except MalformedAddressError:
            return False
        if found["outcome"] == "sent":
            self.forget(recipient)
            return True
        said = _SAID.match(found["text"])
        if said is None or found["status"] not in ABOUT_RECIPIENT:
            return False
        # A reply to the message goes for all recipients: filtermail refuses all because of one.
        if said["command"] != "RCPT TO" and recipient not in said["words"].lower():
            return False
        reply = Reply(int(said["code"]), found["status"], said["words"])
        self._remember(recipient, reply, at.timestamp())
        return True

    def verdict(self, recipient: str) -> Verdict | None:
        """The stored refusal of the canonical `recipient`, or None."""
        found = self._tried(lambda: self.refusals.of(recipient))
        if found is None:
            return None
        words = found.words.replace(RECIPIENT, recipient).encode("ascii", "replace").decode()
        return codes.refused_lately(found.code, found.status, words or "Recipient refused by its server")

    def forget(self, recipient: str) -> None:
        """Deletes the entry of `recipient`, for which the peer accepted mail."""
        self._tried(lambda: self.refusals.forget(recipient) or None)

    def _remember(self, recipient: str, reply: Reply, at: float | None) -> None:
        may_wait()
        refusal = Refusal(reply.code, reply.enhanced, words_about(recipient, reply.text))
        self._tried(lambda: self.refusals.remember(recipient, refusal, at))

    def _tried(self, do: Callable[[], _T | None]) -> _T | None:
        try:
            return do()
        except SQLAlchemyError as error:
            log.error("event=refusals-away error=%s", type(error).__name__)
            return None
