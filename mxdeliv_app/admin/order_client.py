"""The pages' side of `order_daemon`: asks for one order by its socket, and tells what became of it."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from mxdeliv_app.admin.problems import ProblemError

DEFAULT_PATH = Path("/run/chatmail-orders.sock")
# Doctor asks servers far away; suspending an account waits for sessions to end.
_PATIENCE = 120.0  # seconds
_LONGEST = 64 << 20  # octets: a hundred thousand messages of a queue


def place() -> Path:
    """Where the socket is: `$CHATMAIL_ORDERS`, else `DEFAULT_PATH`."""
    return Path(os.environ.get("CHATMAIL_ORDERS", DEFAULT_PATH))


class AwayError(Exception):
    """The program does not answer."""


@dataclass(frozen=True, slots=True)
class Done:
    """The exit status of `chatmailctl`, and what it said."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Orders:
    """What the pages ask; a test gives another."""

    path: Path

    def __call__(self, name: str, values: dict[str, str]) -> Done:
        """Have `name` done. Raises `AwayError`, and `ProblemError` (422) if a value is wrong."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_PATIENCE)
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
