"""Accounts: address, password hash, and the days of creation and last login.

Days, never times: that is all a relay remembers of when its users are there. Addresses are canonical
(`address.parse`); whether one may have an account is not decided here. Hashes are in Dovecot's form, scheme
first (`{ARGON2ID}$argon2id$…`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from chatmail_milter.store import ended_logins, lease
from chatmail_milter.store.names import NameReservedError, ReservedNames
from chatmail_milter.store.tables import accounts
from chatmail_milter.store.upsert import insert_new

# Read at each login, and for each recipient: to make the statement takes longer than to run it.
_ONE = select(accounts).where(accounts.c.address == bindparam("address"))


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `last_login` is None until the first; `quota`, in octets, where it is as the others'."""

    address: str
    password_hash: str
    created: date
    last_login: date | None
    quota: int | None = None


class Accounts:
    """The accounts in a store. `today` is asked for the day of creation, `names` which are not given out yet.

    Without `names`, none of a former account ever is.
    """

    def __init__(
        self, engine: Engine, today: Callable[[], date] = date.today, names: ReservedNames | None = None
    ) -> None:
        self._engine = engine
        self._today = today
        self._names = names or ReservedNames()

    def lookup(self, address: str) -> Account | None:
        """The account of a canonical address."""
        with self._engine.connect() as connection:
            row = connection.execute(_ONE, {"address": address}).one_or_none()
        return None if row is None else Account(*row)

    def reserved(self, address: str) -> bool:
        """Whether an account of this canonical address is gone, and nobody may have it yet."""
        with self._engine.connect() as connection:
            return bool(self._names.reserved(connection, (address,)))

    def create(
        self, address: str, password_hash: str, last_login: date | None = None, *, reuse: bool = False
    ) -> bool:
        """Make an account. False, and nothing changed, if there is one: of ten at once, one gets True.

        Raises `NameReservedError` where the name is reserved, unless `reuse`, which ends that.
        """
        try:
            with self._engine.begin() as connection:
                if reuse:
                    self._names.release(connection, (address,))
                new_account(connection, self._names, address, password_hash, self._today(), last_login)
        except IntegrityError:
            return False
        return True

    def carry_over(self, those: Sequence[Account], *, reuse: bool = False) -> tuple[set[str], set[str]]:
        """Make accounts as they were elsewhere: the addresses of the new ones, and those that are reserved.

        Those that are here stay as they are. Of several with one address the first counts. Those whose names
        are reserved are not made, unless `reuse`, which ends that.
        """
        rows = {one.address: asdict(one) for one in reversed(those)}
        here = select(accounts.c.address).where(accounts.c.address.in_(rows))
        with self._engine.begin() as connection:
            new = rows.keys() - set(connection.execute(here).scalars())
            insert_new(connection, accounts, [row for row in rows.values() if row["address"] in new])
            # Afterwards, as in `new_account`.
            reserved = set() if reuse else self._names.reserved(connection, new)
            connection.execute(delete(accounts).where(accounts.c.address.in_(reserved)))
            self._names.release(connection, new - reserved)
        return new - reserved, reserved

    def set_password(self, address: str, password_hash: str) -> bool:
        """Give an account another password, and end its SMTP sessions. False if there is none."""
        mine = accounts.c.address == address
        name = self._names.pseudonym(address)
        with self._engine.begin() as connection:
            changed = connection.execute(update(accounts).where(mine).values(password_hash=password_hash))
            if not changed.rowcount:
                return False
            ended_logins.end(connection, name, self._today())
        lease.wait_for_caches_to_expire()
        return True

    def touch(self, address: str, day: date) -> bool:
        """Remember a login on `day`; one write a day at most. False if there is no such account."""
        account = self.lookup(address)
        if account is None:
            return False
        if account.last_login is None or account.last_login < day:
            with self._engine.begin() as connection:
                mine = accounts.c.address == address
                connection.execute(update(accounts).where(mine).values(last_login=day))
        return True

    def delete(
        self, address: str, *, unused_since: date | None = None, beforehand: Callable[[], None] = lambda: None
    ) -> bool:
        """Forget an account with all rows that refer to it, and reserve its name. False if there is none.

        With `unused_since`, False also if it was made or logged in on that day or later. `beforehand` is done
        before anybody can know, and nobody logs in meanwhile; if it raises, nothing is forgotten.

        SMTP sessions of the account have ended `LEASE` after this returns. That is not waited for here, since
        many accounts may be deleted one after the other.
        """
        which = accounts.c.address == address
        if unused_since is not None:
            which &= func.coalesce(accounts.c.last_login, accounts.c.created) < unused_since
        with self._engine.begin() as connection:
            if not connection.execute(delete(accounts).where(which)).rowcount:
                return False
            self._names.reserve(connection, address)
            # Before: it raises where there is no key.
            name = self._names.pseudonym(address)
            beforehand()
            ended_logins.end(connection, name, self._today())
        return True

    def set_quota(self, address: str, octets: int | None) -> bool:
        """Let an account hold that many octets, or for None as many as the others. False if there is none.

        In force for the next delivery and session: Dovecot asks anew for each.
        """
        mine = update(accounts).where(accounts.c.address == address).values(quota=octets)
        with self._engine.begin() as connection:
            return connection.execute(mine).rowcount > 0

    def unused(self, since: date) -> tuple[str, ...]:
        """Who made an account before `since` and has not logged in from that day on."""
        used = func.coalesce(accounts.c.last_login, accounts.c.created)
        with self._engine.connect() as connection:
            found = select(accounts.c.address).where(used < since).order_by(accounts.c.address)
            return tuple(connection.execute(found).scalars())

    def list(self) -> tuple[Account, ...]:
        """All accounts, by address."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(accounts).order_by(accounts.c.address)).all()
        return tuple(Account(*row) for row in rows)

    def each(self) -> Iterator[Account]:
        """The same one by one: of a million, a few hundred are in memory."""
        with self._engine.connect().execution_options(yield_per=_AT_ONCE) as connection:
            for row in connection.execute(select(accounts).order_by(accounts.c.address)):
                yield Account(*row)


def new_account(
    connection: Connection,
    names: ReservedNames,
    address: str,
    password_hash: str,
    created: date,
    last_login: date | None = None,
) -> None:
    """Make an account in a transaction, to be rolled back where this raises.

    `sqlalchemy.exc.IntegrityError` if there is one, `NameReservedError` if its name is not given out yet.
    """
    values = {"address": address, "password_hash": password_hash}
    connection.execute(insert(accounts).values({**values, "created": created, "last_login": last_login}))
    # Afterwards: who deletes an account of this address at the same time has reserved its name by now.
    if names.reserved(connection, (address,)):
        raise NameReservedError


_AT_ONCE = 500
