"""Secrets of the TURN server for calls (coturn, `use-auth-secret`), and the credentials made with them.

    username = POSIX time at which the credentials expire
    password = base64(HMAC-SHA1(secret, username))

https://datatracker.ietf.org/doc/html/draft-uberti-behave-turn-rest-00, 2.2. The file of secrets has one in
each line. The first makes credentials; a later one has the POSIX time until which credentials made with it
are still valid. coturn reads the secrets from its database at each new allocation, so a change ends no call.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from chatmail_milter.atomic_file import replaced

SECRETS_PATH = Path("/etc/chatmail/turn.secrets")
DATABASE_PATH = Path("/var/lib/turn/turndb")
# Seconds. An app asks again 12 hours before its credentials expire.
LIFETIME = 5 * 86400
_LINE = re.compile(r"([0-9A-Za-z]{32,128})(?: ([0-9]{1,12}))?")


class TurnSecretsError(Exception):
    """The secrets can't be read. The message contains none of them."""


@dataclass(frozen=True, slots=True)
class TurnSecret:
    """One secret. `until`: POSIX time, for one that was replaced; None for the one in use."""

    value: str
    until: int | None = None


def secrets_path() -> Path:
    """The path of the file of secrets: `$CHATMAIL_TURN_SECRETS`, else `SECRETS_PATH`."""
    return Path(os.environ.get("CHATMAIL_TURN_SECRETS", SECRETS_PATH))


def parse(text: str) -> list[TurnSecret]:
    """The secrets of a file, the one in use first. Raises `TurnSecretsError`."""
    found = [_LINE.fullmatch(line) for line in text.splitlines()]
    read = [TurnSecret(one[1], int(one[2]) if one[2] else None) for one in found if one]
    if not read or len(read) < len(found) or [one.until is None for one in read].count(True) != 1:
        raise TurnSecretsError("wants a secret in each line, and the time of its end in all but the first")
    if read[0].until is not None:
        raise TurnSecretsError("wants the secret in use in the first line")
    return read


def read(path: Path) -> list[TurnSecret]:
    """The secrets in a file. Raises `TurnSecretsError`."""
    try:
        return parse(path.read_text("ascii"))
    except OSError as error:
        raise TurnSecretsError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, TurnSecretsError) as error:
        raise TurnSecretsError(
            f"{path}: {error if isinstance(error, TurnSecretsError) else 'is not ASCII'}"
        ) from None


def valid(kept: Sequence[TurnSecret], now: float) -> list[TurnSecret]:
    """The secrets with which credentials are valid `now`."""
    return [one for one in kept if one.until is None or one.until > now]


def rotated(kept: Sequence[TurnSecret], now: float, overlap: float) -> list[TurnSecret]:
    """`kept` with a new secret in use, and the former one valid for `overlap` seconds more."""
    fresh = TurnSecret(secrets.token_hex(32))
    former = [TurnSecret(one.value, int(now + overlap)) if one.until is None else one for one in kept]
    return [fresh, *valid(former, now)]


def write(path: Path, kept: Sequence[TurnSecret]) -> None:
    """Replaces the file at once, with the owner, group and mode that it had. Raises `OSError`."""
    before = path.stat()
    lines = (one.value if one.until is None else f"{one.value} {one.until}" for one in kept)
    with replaced(path) as new:
        new.write("".join(f"{line}\n" for line in lines).encode())
        new.flush()
        os.fsync(new.fileno())
        os.fchown(new.fileno(), before.st_uid, before.st_gid)
        os.fchmod(new.fileno(), before.st_mode & 0o777)


def publish(kept: Sequence[TurnSecret], realm: str, database: Path) -> bool:
    """Makes the secrets in coturn's database those of `kept`; False if they were. Raises `sqlite3.Error`.

    Writes only where something differs: while a transaction is committed, coturn can't read.
    """
    wanted = {(realm, one.value) for one in kept}
    # Not created: a database without coturn's tables is none of it.
    with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=10)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        found = set(connection.execute("SELECT realm, value FROM turn_secret"))
        if found == wanted:
            return False
        connection.executemany("DELETE FROM turn_secret WHERE realm = ? AND value = ?", found - wanted)
        connection.executemany("INSERT INTO turn_secret (realm, value) VALUES (?, ?)", wanted - found)
    return True


def password(secret: str, username: str) -> str:
    """The password of a user name."""
    return base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()


def entry(server: str, kept: Sequence[TurnSecret], now: float) -> str:
    """The value of the METADATA entry `turn`: HOST:PORT:USERNAME:PASSWORD."""
    username = str(int(now) + LIFETIME)
    return f"{server}:{username}:{password(kept[0].value, username)}"
