"""The operator's two passwords, read-only and privileged, as Argon2id hashes in a file.

A line of the file is `ROLE HASH`, with the hash from `chatmailctl admin hash`. Without a line there is no
access.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

Role = Literal["read-only", "privileged"]
ROLES: tuple[Role, ...] = ("read-only", "privileged")
DEFAULT_PATH = Path("/etc/chatmail/admin.passwords")
# Longer ones are not hashed.
LONGEST = 128  # characters


class PasswordsError(Exception):
    """The file can't be used; the message is one line that begins with what to do."""


def place() -> Path:
    """The path of the file: `$CHATMAIL_ADMIN_PASSWORDS`, else `DEFAULT_PATH`."""
    return Path(os.environ.get("CHATMAIL_ADMIN_PASSWORDS", DEFAULT_PATH))


def read(path: Path) -> dict[Role, str]:
    """The hashes of a file by role. Raises `PasswordsError`."""
    try:
        lines = [line.split() for line in path.read_text("ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise PasswordsError(f"mend {path}: {error}") from None
    found: dict[Role, str] = {}
    for words in filter(None, lines):
        if len(words) != 2 or words[0] not in ROLES or words[0] in found:
            raise PasswordsError(f"mend {path}: a line is `read-only HASH` or `privileged HASH`, one of each")
        if not words[1].startswith("$argon2id$"):
            raise PasswordsError(f"mend {path}: `chatmailctl admin hash` makes the hash of {words[0]}")
        found[words[0]] = words[1]
    if not found:
        raise PasswordsError(f"mend {path}: it has no password")
    return found


def role(hashes: Mapping[Role, str], password: str) -> Role | None:
    """The role of a password.

    Compares with all hashes, so that the time reveals nothing; argon2 compares in constant time.
    """
    if not 0 < len(password) <= LONGEST:
        return None
    fits = [one for one, hashed in hashes.items() if _fits(hashed, password)]
    return "privileged" if "privileged" in fits else next(iter(fits), None)


def _fits(hashed: str, password: str) -> bool:
    try:
        return PasswordHasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
