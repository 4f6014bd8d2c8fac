"""The secret URL at which Dovecot reports deliveries to a program.

The path is secret, because any local user can connect; requests to other paths are ignored.
"""

from __future__ import annotations

import hmac
import sys
from pathlib import Path
from urllib.parse import urlsplit

_SHORTEST = 32  # characters; the playbook makes 64


def secret_path(program: str, file: Path) -> str:
    """The path of the URL in a file of one line; else one line on stderr and exit 78 (EX_CONFIG)."""
    try:
        path = urlsplit(file.read_text("ascii").strip()).path
    except (OSError, ValueError) as error:
        print(
            f"{program}: the URL for deliveries can't be read: {file}: {type(error).__name__}",
            file=sys.stderr,
        )
        sys.exit(78)
    if len(path) <= _SHORTEST:
        print(f"{program}: the path is too short: {file}: wants {_SHORTEST} characters", file=sys.stderr)
        sys.exit(78)
    return path


def is_told(path: str, secret: str) -> bool:
    """Whether `path` is the secret one. Compares in constant time."""
    return hmac.compare_digest(path.encode("utf-8", "replace"), secret.encode())
