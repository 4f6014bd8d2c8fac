"""Pseudonyms for addresses that the store must not contain: HMAC-SHA256 (RFC 2104).

A plain hash could be reversed by hashing a list of addresses; this needs the key. The key is a file beside
the configuration, so it is not in copies of the database. The playbook creates it, readable only by programs
that need it. All hosts that share a database must have the same key.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
from pathlib import Path

KEY_FILE = Path("/etc/chatmail/store.key")
_SHORTEST = 32  # octets; the playbook makes 64 hexadecimal digits
_LENGTH = 32  # hexadecimal digits of a pseudonym: 128 bits, so that collisions don't happen

log = logging.getLogger(__name__)


def load_key() -> bytes:
    """The key from `$CHATMAIL_STORE_KEY`, else `KEY_FILE`; if unusable, a random one for this process."""
    try:
        return read_key(Path(os.environ.get("CHATMAIL_STORE_KEY", KEY_FILE)))
    except OSError as error:
        reason = type(error).__name__
    except ValueError:
        reason = "too-short"
    # A warning, not an error: mail must not be delayed for this.
    log.warning("event=no-store-key reason=%s consequence=refusals-are-known-to-one-process", reason)
    return secrets.token_bytes(_SHORTEST)


def read_key(path: Path) -> bytes:
    """Reads a key from a file. Raises `OSError`, and `ValueError` if it is too short."""
    key = path.read_bytes().strip()
    if len(key) < _SHORTEST:
        raise ValueError("too short")
    return key


def pseudonym(key: bytes, address: str) -> str:
    """The pseudonym of a canonical address: 32 hexadecimal digits."""
    return hmac.digest(key, address.encode(), "sha256").hex()[:_LENGTH]
