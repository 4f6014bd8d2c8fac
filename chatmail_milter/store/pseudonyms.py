"""What stands for an address that the store must not hold: HMAC-SHA256 (RFC 2104) under a key.

Who has a list of addresses can try them all on a plain hash; on this one, only with the key. The key is a
file beside the configuration, so copies of the store don't have it. The playbook makes it, for the programs
that need it; all of them, on all hosts of one store, must have the same.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
from pathlib import Path

KEY_FILE = Path("/etc/chatmail/store.key")
_SHORTEST = 32  # octets; the playbook makes 64 hexadecimal digits
_LENGTH = 32  # hexadecimal digits of a pseudonym, 128 bits: no two of a store's addresses have the same

log = logging.getLogger(__name__)


def load_key() -> bytes:
    """The key, from `$CHATMAIL_STORE_KEY` or else `KEY_FILE`; without a good one, one for this process."""
    try:
        return read_key(Path(os.environ.get("CHATMAIL_STORE_KEY", KEY_FILE)))
    except OSError as error:
        reason = type(error).__name__
    except ValueError:
        reason = "too-short"
    # No mail is to wait for this.
    log.warning("event=no-store-key reason=%s consequence=refusals-are-known-to-one-process", reason)
    return secrets.token_bytes(_SHORTEST)


def read_key(path: Path) -> bytes:
    """The key in a file. Raises `OSError`, and `ValueError` where it is too short."""
    key = path.read_bytes().strip()
    if len(key) < _SHORTEST:
        raise ValueError("too short")
    return key


def pseudonym(key: bytes, address: str) -> str:
    """What stands for a canonical address."""
    return hmac.digest(key, address.encode(), "sha256").hex()[:_LENGTH]
