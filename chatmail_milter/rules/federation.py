"""With which domains this relay exchanges mail: with all but some, or with none but some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatmail_milter import address

Rule = Literal["open", "closed"]


@dataclass(frozen=True, slots=True)
class Federation:
    """`open`: all domains but the exceptions. `closed`: none but the exceptions.

    Exceptions are canonical domains (`example.org`, an IP literal in brackets), or `.example.org` for all
    below a domain and not itself.
    """

    rule: Rule = "open"
    exceptions: frozenset[str] = frozenset()

    def admits(self, domain: str) -> bool:
        """Whether mail may go to, and come from, a canonical domain."""
        excepted = not self.exceptions.isdisjoint(address.patterns(domain))
        return excepted is (self.rule == "closed")
