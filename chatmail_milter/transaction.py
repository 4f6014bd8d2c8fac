"""One message as the milter meets it: envelope, header, body, verdict. Knows no protocol and no library.

Which rules apply is decided by the road, and the road by the name that Postfix gives the service it came
in by (`milter_macro_daemon_name`), never by an address. Of the message only what the rules need is kept.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.config import Config
from chatmail_milter.gate.fields import FIELDS
from chatmail_milter.gate.gate import Direction, Envelope, Gate
from chatmail_milter.rules import inbound, submission
from chatmail_milter.rules.dkim import DkimFacts
from chatmail_milter.rules.inbound import Judgement, Peer
from chatmail_milter.verdict import Verdict

# The roads that are judged, by the name of the service.
ROADS: Mapping[str, Direction] = MappingProxyType(
    {"submission": Direction.OUT, "smtp": Direction.IN, "mxdeliv": Direction.IN}
)

# Mail that Postfix made itself (bounces), and mail on its way out again that was judged when it came in.
LET_BY = frozenset(("internal", "reinject"))

# A message has one of each field that the gate reads; the second shows that it has too many.
_KEPT_MOST = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What the rules need of the configuration."""

    authserv_id: str
    any_ip_literal: bool

    @classmethod
    def of(cls, config: Config) -> Settings:
        return cls(config.mail.host, config.inbound.ip_literals == "open")


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a message.

    `null_sender`: if it passes, its envelope sender must become the null sender. `forged`: which
    Authentication-Results fields must go, counted from 1 among the fields of that name, last first, so that
    taking one away doesn't renumber those still to go. `bare`: it has no subject and gets `[...]`, since
    Postfix took the one in clear away (submission_header_checks).
    """

    verdict: Verdict
    null_sender: bool = False
    forged: tuple[int, ...] = ()
    bare: bool = False


class Transaction:
    """One message. Call in the order of SMTP: `recipient`s, `field`s, `end_of_header`, `body`, `decide`."""

    def __init__(self, settings: Settings, direction: Direction, peer: Peer, mail_from: str) -> None:
        self._settings = settings
        self._direction = direction
        self._peer = peer
        self._mail_from = canonical(mail_from)
        self._recipients: list[str] = []
        self._fields: list[tuple[bytes, bytes]] = []
        self._counts = dict.fromkeys(FIELDS, 0)
        self._signatures = DkimFacts(settings.authserv_id)
        self._gate: Gate | None = None
        self.size = 0

    def recipient(self, text: str) -> None:
        """The next recipient, as RCPT TO gives it."""
        self._recipients.append(canonical(text))

    def field(self, name: bytes, value: bytes) -> None:
        """The next header field."""
        self.size += len(name) + len(value) + 4
        # RFC 5322, 4.5 has old fields with white space before the colon, and some programs heed those.
        name = name.strip().lower()
        if name in FIELDS and self._counts[name] < _KEPT_MOST:
            self._counts[name] += 1
            self._fields.append((name, value))
        elif self._direction is Direction.IN:
            self._signatures.see(name, value)

    def end_of_header(self) -> None:
        """All fields have been given."""
        self.size += 2
        envelope = Envelope(self._mail_from, tuple(self._recipients))
        self._gate = Gate(self._direction, envelope, self._fields)

    def body(self, chunk: bytes) -> None:
        """The next octets of the body."""
        self.size += len(chunk)
        self._the_gate().feed(chunk)

    def decide(self) -> Decision:
        """The message is over."""
        found = self._the_gate().finish()
        from_values = [value for name, value in self._fields if name == b"from"]
        if self._direction is Direction.OUT:
            verdict = submission.judge(from_values, self._mail_from, found)
            return Decision(verdict, bare=not self._counts[b"subject"])
        judgement: Judgement = inbound.judge(
            from_values,
            self._mail_from,
            self._peer,
            found,
            self._signatures,
            any_ip_literal=self._settings.any_ip_literal,
        )
        forged = tuple(reversed(self._signatures.forged))
        return Decision(judgement.verdict, judgement.null_sender, forged)

    def _the_gate(self) -> Gate:
        if self._gate is None:
            raise RuntimeError("a body came before the end of the header")
        return self._gate


def canonical(text: str) -> str:
    """An envelope address in canonical form, empty for `<>`; as it is, where it isn't one we could have."""
    try:
        return address.parse(text) if text.strip("<>") else ""
    except MalformedAddressError:
        return text.strip("<>")


def peer_address(text: str | None) -> Peer:
    """The peer's IP address, None where it has none (a local process)."""
    try:
        return ipaddress.ip_address((text or "").removeprefix("IPv6:"))
    except ValueError:
        return None
