"""The federation policy: which domains this relay exchanges mail with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatmail_milter import address

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
