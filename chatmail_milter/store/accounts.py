"""The accounts: address, password hash, quota, and dates of creation and last login.

Dates, not times: the store keeps nothing more exact about when users are active. Addresses are canonical
(`address.parse`); the rules for new ones are in `accounts.credentials`. Password hashes have Dovecot's
scheme prefix (`{ARGON2ID}$argon2id$…`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from chatmail_milter.store import revision
from chatmail_milter.store.reserved_names import NameReservedError, ReservedNames
from chatmail_milter.store.tables import accounts
from chatmail_milter.store.upsert import insert_new

# Read at each login, and for each recipient: to make the statement takes longer than to run it.
_ONE = select(accounts).where(accounts.c.address == bindparam("address"))


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `last_login`: None before the first. `quota`: in octets; None for the default."""

    address: str
    password_hash: str
    created: date
    last_login: date | None
    quota: int | None = None


class Accounts:
    """Access to the accounts. Methods raise `sqlalchemy.exc.SQLAlchemyError`.

    `names`: for how long addresses of deleted accounts stay reserved; by default, for ever.
    """

    def __init__(
        self, engine: Engine, today: Callable[[], date] = date.today, names: ReservedNames | None = None
    ) -> None:
        self._engine = engine
        self._today = today
        self._names = names or ReservedNames()

    def lookup(self, address: str) -> Account | None:
        """The account with a canonical address; None if there is none."""
        with self._engine.connect() as connection:
            row = connection.execute(_ONE, {"address": address}).one_or_none()
        return None if row is None else Account(*row)

    def reserved(self, address: str) -> bool:
        """Whether a canonical address is reserved, because its account was deleted."""
        with self._engine.connect() as connection:
            return bool(self._names.reserved(connection, (address,)))

    def create(
        self, address: str, password_hash: str, last_login: date | None = None, *, reuse: bool = False
    ) -> bool:
        """Creates an account, atomically. False if it exists already; then nothing is changed.

        `reuse`: allow a reserved address, and end the reservation. Else raises `NameReservedError` for it.
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
        """Imports accounts. Returns the addresses of the new ones, and those skipped as reserved.

        Existing accounts are not changed. Of several with one address, the first counts. `reuse`: allow
        reserved addresses, and end their reservation.
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
        """Sets an account's password hash, and ends its SMTP sessions. False if there is no such account."""
        mine = accounts.c.address == address
        name = self._names.pseudonym(address)
        with self._engine.begin() as connection:
            changed = connection.execute(update(accounts).where(mine).values(password_hash=password_hash))
            if not changed.rowcount:
                return False
            revision.end_sessions(connection, name, self._today())
        revision.wait_for_caches_to_expire()
        return True

    def touch(self, address: str, day: date) -> bool:
        """Records a login on `day`, with at most one write per day. False if there is no such account."""
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
        """Deletes an account with all rows that refer to it; reserves its address. False if there is none.

        `unused_since`: returns False also if the account was created or used on that day or later.
        `beforehand`: called before the commit, without a login in between; if it raises, nothing is
        deleted.

        SMTP sessions of the account end within `LEASE` seconds. This method does not wait for that, because
        many accounts may be deleted in a row.
        """
        which = accounts.c.address == address
        if unused_since is not None:
            which &= func.coalesce(accounts.c.last_login, accounts.c.created) < unused_since
        with self._engine.begin() as connection:
            if not connection.execute(delete(accounts).where(which)).rowcount:
                return False
            self._names.reserve(connection, address)
            # Before `beforehand`, because it raises if there is no key.
            name = self._names.pseudonym(address)
            beforehand()
            revision.end_sessions(connection, name, self._today())
        return True

    def set_quota(self, address: str, octets: int | None) -> bool:
        """Sets an account's quota in octets; None for the default. False if there is no such account.

        Effective from the next session, and from the next delivery after `Doveadm.forget_accounts`.
        """
        mine = update(accounts).where(accounts.c.address == address).values(quota=octets)
        with self._engine.begin() as connection:
            return connection.execute(mine).rowcount > 0

    def unused(self, since: date) -> tuple[str, ...]:
        """Addresses of accounts that were created before `since` and not used since then, sorted."""
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
        """All accounts, by address, as a stream of which at most `_AT_ONCE` are in memory."""
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
    """Creates an account within a transaction, which the caller rolls back if this raises.

    Raises `sqlalchemy.exc.IntegrityError` if the account exists, `NameReservedError` if the address is
    reserved.
    """
    values = {"address": address, "password_hash": password_hash}
    connection.execute(insert(accounts).values({**values, "created": created, "last_login": last_login}))
    # Checked after the INSERT: a concurrent deletion of the same account has then reserved the address.
    if names.reserved(connection, (address,)):
        raise NameReservedError


_AT_ONCE = 500
