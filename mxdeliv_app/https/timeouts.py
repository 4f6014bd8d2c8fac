"""Timeouts of deliveries, which grow with the size of the message."""

from __future__ import annotations

from dataclasses import dataclass

# Octets per second, 1 Mbit/s: the slowest peer that can receive 30 MiB.
SLOWEST = 1 << 17
# Octets that the kernels of both hosts may still buffer when all is sent (Linux: tcp_wmem, tcp_rmem).
BUFFERED = 1 << 23


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`least`: seconds for all attempts for an empty message. `largest`: octets of the largest message."""

    least: float
    largest: int

    def allowance(self, size: int) -> float:
        """Additional seconds for a message of `size` octets."""
        return min(size, self.largest) / SLOWEST

    def silence(self, size: int) -> float:
        """Timeout in seconds for the answer, after a message of `size` octets was sent."""
        return self.least + self.allowance(min(size, BUFFERED))

    def whole(self, size: int) -> float:
        """Timeout in seconds for all attempts for a message of `size` octets."""
        return self.least + self.allowance(size)

    @property
    def longest(self) -> float:
        """Timeout in seconds for the largest message; far below Postfix's `lmtp_data_done_timeout` of 600."""
        return self.whole(self.largest)
