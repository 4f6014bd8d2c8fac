"""The client of `order_daemon`: sends one order to its socket, and returns the result."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from mxdeliv_app.admin.requests import ProblemError

DEFAULT_PATH = Path("/run/chatmail-orders.sock")
# Doctor asks servers far away; suspending an account waits for sessions to end.
_TIMEOUT = 120.0  # seconds
_LONGEST = 64 << 20  # octets: a hundred thousand messages of a queue


def place() -> Path:
    """The path of the socket: `$CHATMAIL_ORDERS`, else `DEFAULT_PATH`."""
    return Path(os.environ.get("CHATMAIL_ORDERS", DEFAULT_PATH))


class AwayError(Exception):
    """The program does not answer."""


@dataclass(frozen=True, slots=True)
class Done:
    """The exit status and output of `chatmailctl`."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Orders:
    """The type of the client; tests pass another."""

    path: Path

    def __call__(self, name: str, values: dict[str, str]) -> Done:
        """Executes the order `name`. Raises `AwayError`, and `ProblemError` (422) for an invalid value."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_TIMEOUT)
                connection.connect(str(self.path))
                connection.sendall(json.dumps({"order": name, "values": values}).encode("ascii") + b"\n")
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as file:
                    said = json.loads(file.read(_LONGEST))
        except (OSError, ValueError) as error:
            raise AwayError(f"chatmail-orders does not answer: {type(error).__name__}") from None
        if "field" in said:
            raise ProblemError(422, f"{said['field']}: {said['why']}", said["field"])
        return Done(said["status"], said["out"], said["err"])
