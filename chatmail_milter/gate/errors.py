"""The exception by which a layer of the gate refuses a message. `gate.Gate` catches it."""

from __future__ import annotations


class RefusedError(Exception):
    """The gate refuses the message.

    `reason` is a fixed slug (log field, metric label, name of a test). It holds nothing of the message.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
