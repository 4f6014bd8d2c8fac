"""How long a delivery may take: seconds for a small message, and more for a large one, but never for ever."""

from __future__ import annotations

from dataclasses import dataclass

# Octets a second, 1 Mbit/s: 30 MiB to a peer that is no slower than that get through.
SLOWEST = 1 << 17
# What of a message the kernels of both hosts may still hold when it is all sent (Linux: tcp_wmem, tcp_rmem).
BUFFERED = 1 << 23


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`least`: seconds for a message of no size, all attempts together; `largest`: octets of the largest."""

    least: float
    largest: int

    def allowance(self, size: int) -> float:
        """Seconds more, for a message of `size` octets."""
        return min(size, self.largest) / SLOWEST

    def silence(self, size: int) -> float:
        """Seconds that a peer may take to answer after a message of `size` octets was sent."""
        return self.least + self.allowance(min(size, BUFFERED))

    def whole(self, size: int) -> float:
        """Seconds for all attempts for a message of `size` octets."""
        return self.least + self.allowance(size)

    @property
    def longest(self) -> float:
        """Seconds after which any delivery is over; far under Postfix's `lmtp_data_done_timeout` of 600."""
        return self.whole(self.largest)
