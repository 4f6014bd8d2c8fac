"""One SMTP reply (RFC 5321, 4.2), ours or another server's, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """`code` (RFC 5321), `enhanced` (RFC 3463; empty where a server gave none), `text` in one line."""

    code: int
    enhanced: str
    text: str

    @property
    def line(self) -> str:
        """As it is said, e.g. `550 5.1.1 User unknown`."""
        return " ".join(filter(None, (str(self.code), self.enhanced, self.text)))

    @property
    def accepted(self) -> bool:
        """2yz."""
        return self.code // 100 == 2

    @property
    def positive(self) -> bool:
        """2yz, or 3yz (go on)."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """4yz."""
        return self.code // 100 == 4

    @property
    def final(self) -> bool:
        """5yz."""
        return self.code // 100 == 5
