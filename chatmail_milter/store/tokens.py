"""Registration tokens, with which accounts can be created where registration is by token.

A token may be limited in uses and in time. Only its SHA-256 is stored, so that nobody can create accounts
with a copy of the database. Tokens are random, so the hash needs no salt and need not be slow. Times are
POSIX time.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from chatmail_milter.store.accounts import new_account
from chatmail_milter.store.reserved_names import NameReservedError, ReservedNames
from chatmail_milter.store.tables import tokens

# Characters without a special meaning in links and on command lines.
_CHARACTERS = string.ascii_letters + string.digits
_LENGTH = 24
_ID = 8  # hexadecimal digits of a token's ID


@dataclass(frozen=True, slots=True)
class Token:
    """A token's state. `id`: the beginning of its hash, for operators. `uses`, `expires`: None: no limit."""

    id: str
    created: date
    uses: int | None
    used: int
    expires: float | None

    def spent(self, now: float) -> bool:
        """Whether it is used up or expired."""
        over = self.expires is not None and self.expires <= now
        return over or (self.uses is not None and self.used >= self.uses)


class Tokens:
    """Access to the tokens. `names`: as in `Accounts`."""

    def __init__(
        self,
        engine: Engine,
        today: Callable[[], date] = date.today,
        clock: Callable[[], float] = time.time,
        names: ReservedNames | None = None,
    ) -> None:
        self._engine = engine
        self._today = today
        self._clock = clock
        self._names = names or ReservedNames()

    def create(self, uses: int | None, seconds: float | None) -> tuple[str, Token]:
        """Creates a token for `uses` accounts and `seconds` (None: no limit). Returns it and its state."""
        token = "".join(secrets.choice(_CHARACTERS) for _ in range(_LENGTH))
        expires = None if seconds is None else self._clock() + seconds
        values = {"digest": _digest(token), "created": self._today(), "uses": uses, "used": 0}
        with self._engine.begin() as connection:
            connection.execute(insert(tokens).values({**values, "expires": expires}))
        return token, Token(_digest(token)[:_ID], self._today(), uses, 0, expires)

    def list(self) -> tuple[Token, ...]:
        """All tokens, also used and expired ones, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created, tokens.c.digest)).all()
        return tuple(Token(row.digest[:_ID], row.created, row.uses, row.used, row.expires) for row in rows)

    def revoke(self, what: str) -> bool:
        """Deletes a token, given itself or its ID. False if there is none."""
        is_id = re.fullmatch(rf"[0-9a-f]{{{_ID}}}", what)
        which = tokens.c.digest.startswith(what) if is_id else tokens.c.digest == _digest(what)
        with self._engine.begin() as connection:
            return connection.execute(delete(tokens).where(which)).rowcount > 0

    def usable(self, token: str) -> bool:
        """Whether an account can be created with it now. Writes nothing, so that anybody may call it."""
        with self._engine.connect() as connection:
            return connection.execute(select(tokens.c.used).where(self._usable(token))).first() is not None

    def redeem(self, token: str, address: str, password_hash: str) -> Literal["made", "spent", "exists"]:
        """Creates the account `address` and counts a use of `token`, in one transaction.

        Returns "exists" for a reserved address, too: the caller then tries another random one.
        """
        try:
            with self._engine.begin() as connection:
                if not self._use(connection, token):
                    return "spent"
                new_account(connection, self._names, address, password_hash, self._today())
        except (IntegrityError, NameReservedError):
            return "exists"
        return "made"

    def _use(self, connection: Connection, token: str) -> bool:
        used = update(tokens).where(self._usable(token)).values(used=tokens.c.used + 1)
        return connection.execute(used).rowcount > 0

    def _usable(self, token: str) -> ColumnElement[bool]:
        left = or_(tokens.c.uses.is_(None), tokens.c.used < tokens.c.uses)
        valid = or_(tokens.c.expires.is_(None), tokens.c.expires > self._clock())
        return and_(tokens.c.digest == _digest(token), left, valid)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
