"""How the layers of the gate say no to one another. Nothing outside of `gate` ever sees it raised."""

from __future__ import annotations


class RefusedError(Exception):
    """The message is not what the gate lets through.

    `reason` is a short fixed slug (log field, metric label, name of a test); nothing of the message is in it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
