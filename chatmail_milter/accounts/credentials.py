"""Hashes passwords for Dovecot, and generates credentials for `POST /new`."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass

from argon2 import PasswordHasher

from chatmail_milter import config

# One lane, because Dovecot verifies with libsodium. Clients generate 20 random characters, for which any hash
# suffices. With 4 MiB and two passes, a guess at one of the few weak passwords costs 6 ms, and so does a
# login: a thousand logins at once take seconds. The OWASP minimum would take five times that.
_hasher = PasswordHasher(time_cost=2, memory_cost=4096, parallelism=1)

_LOCAL_PART_LENGTH = 9
_PASSWORD_LENGTH = 20
_LOWER = string.ascii_lowercase + string.digits
_ANY = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Credentials:
    """A random address, almost certainly unused, and its password."""

    address: str
    password: str


def hash_password(password: str) -> str:
    """The Argon2id hash with Dovecot's scheme prefix."""
    return "{ARGON2ID}" + _hasher.hash(password)


def fresh(rules: config.AccountSettings, domain: str) -> Credentials:
    """Random credentials that satisfy `rules`. The account is created at the first login."""
    length = min(max(_LOCAL_PART_LENGTH, rules.local_part_min), rules.local_part_max)
    local_part = "".join(secrets.choice(_LOWER) for _ in range(length))
    password = "".join(secrets.choice(_ANY) for _ in range(max(_PASSWORD_LENGTH, rules.password_min)))
    return Credentials(f"{local_part}@{domain}", password)
