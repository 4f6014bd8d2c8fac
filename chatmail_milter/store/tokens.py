"""Tokens: what lets somebody make an account where registration is by token, so many times and until then.

Of a token its SHA-256 is kept: whoever reads the store can make no account with it. A token is random, so it
needs no salt and no slow hash. Times are seconds since the epoch.
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
from chatmail_milter.store.names import NameReservedError, ReservedNames
from chatmail_milter.store.tables import tokens

# Neither in a link nor on a command line does any of these mean something.
_CHARACTERS = string.ascii_letters + string.digits
_LENGTH = 24
_ID = 8  # hexadecimal digits that tell one token from another


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; `id` is what an operator calls it."""

    id: str
    created: date
    uses: int | None
    used: int
    expires: float | None

    def spent(self, now: float) -> bool:
        """Whether it is used up or over."""
        over = self.expires is not None and self.expires <= now
        return over or (self.uses is not None and self.used >= self.uses)


class Tokens:
    """The tokens in a store. `names` are as in `Accounts`."""

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
        """A new token, good for `uses` accounts and `seconds`, and what is kept of it."""
        token = "".join(secrets.choice(_CHARACTERS) for _ in range(_LENGTH))
        expires = None if seconds is None else self._clock() + seconds
        values = {"digest": _digest(token), "created": self._today(), "uses": uses, "used": 0}
        with self._engine.begin() as connection:
            connection.execute(insert(tokens).values({**values, "expires": expires}))
        return token, Token(_digest(token)[:_ID], self._today(), uses, 0, expires)

    def list(self) -> tuple[Token, ...]:
        """All tokens, those that are spent too, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created, tokens.c.digest)).all()
        return tuple(Token(row.digest[:_ID], row.created, row.uses, row.used, row.expires) for row in rows)

    def revoke(self, what: str) -> bool:
        """Forget the token `what`, or that whose id it is. False if there is none."""
        is_id = re.fullmatch(rf"[0-9a-f]{{{_ID}}}", what)
        which = tokens.c.digest.startswith(what) if is_id else tokens.c.digest == _digest(what)
        with self._engine.begin() as connection:
            return connection.execute(delete(tokens).where(which)).rowcount > 0

    def usable(self, token: str) -> bool:
        """Whether an account may be made with it now. Writes nothing, so it may be asked by anybody."""
        with self._engine.connect() as connection:
            return connection.execute(select(tokens.c.used).where(self._usable(token))).first() is not None

    def redeem(self, token: str, address: str, password_hash: str) -> Literal["made", "spent", "exists"]:
        """Make the account `address` with a use of `token`: both, or neither.

        A name that is reserved is answered as if there were the account: another random one is free.
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
