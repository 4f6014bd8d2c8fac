"""Passwords: hashing them for Dovecot, and making fresh credentials for `POST /new`."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass

from argon2 import PasswordHasher

from chatmail_milter import config

# Dovecot verifies with libsodium, which wants one lane. Clients choose 20 random characters, for which any
# hash would do; 4 MiB and two passes cost a guesser of the few weak ones 6 ms a guess, and Dovecot the same
# for a login: a thousand at once are served in seconds, where the OWASP minimum would take five times that.
_hasher = PasswordHasher(time_cost=2, memory_cost=4096, parallelism=1)

_LOCAL_PART_LENGTH = 9
_PASSWORD_LENGTH = 20
_LOWER = string.ascii_lowercase + string.digits
_ANY = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Credentials:
    """An address that nobody has, most probably, and its password."""

    address: str
    password: str


def hash_password(password: str) -> str:
    """The hash in Dovecot's form, scheme first."""
    return "{ARGON2ID}" + _hasher.hash(password)


def fresh(rules: config.AccountSettings, domain: str) -> Credentials:
    """Random credentials that `rules` allow; the account is made when they first log in."""
    length = min(max(_LOCAL_PART_LENGTH, rules.local_part_min), rules.local_part_max)
    local_part = "".join(secrets.choice(_LOWER) for _ in range(length))
    password = "".join(secrets.choice(_ANY) for _ in range(max(_PASSWORD_LENGTH, rules.password_min)))
    return Credentials(f"{local_part}@{domain}", password)
