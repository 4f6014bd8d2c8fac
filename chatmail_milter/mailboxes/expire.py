"""`chatmail-expire`: removes expired mail, empty folders and unused accounts (section `[expiry]`).

Started hourly by a timer. Also trims mailboxes near their quota (`rules.full_mailbox`). A run that is
interrupted is resumed by the next one; `--dry-run` only prints what would be removed. If the clock can't be
trusted (`passes`), nothing is removed by age. Prints numbers only, no addresses.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import ParamSpec

import click
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import config
from chatmail_milter.config.values import Duration
from chatmail_milter.mailboxes import passes
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError, Folder, StoredMessage
from chatmail_milter.mailboxes.home import MailRemoval, home
from chatmail_milter.mailboxes.passes import Progress, UnderWayError
from chatmail_milter.mailboxes.trim import trim
from chatmail_milter.rules import full_mailbox
from chatmail_milter.store import fault, revision
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import existing_store, scrub
from chatmail_milter.store.reserved_names import ReservedNames, key_file

# Accounts per call of doveadm. An interrupted run is resumed after the last complete batch.
_BATCH = 200
_NEVER = Duration(0)

P = ParamSpec("P")


class ExpiryPass:
    """One run over all accounts; `say` prints a line of results."""

    def __init__(
        self,
        rules: config.ExpirySettings,
        doveadm: Doveadm,
        now: float,
        say: Callable[[str], None],
        *,
        dry_run: bool,
    ) -> None:
        self._rules = rules
        self._doveadm = doveadm
        self._now = now
        self._say = say
        self._dry_run = dry_run
        self._done: dict[str, dict[str, int]] = {
            "old-mail": {"messages": 0, "octets": 0},
            "large-mail": {"messages": 0, "octets": 0},
            "full-mailboxes": {"messages": 0, "octets": 0},
            "empty-folders": {"folders": 0},
        }
        self._unreadable = 0
        self.failures = 0

    def doubt_clock(self, ahead: float) -> None:
        """Disables removal by age: the clock is `ahead` seconds after the last run, too much to trust it."""
        self._rules = config.ExpirySettings(
            mail=_NEVER, large_mail=_NEVER, accounts=_NEVER, empty_folders=_NEVER
        )
        self._failed(
            f"the clock is {ahead / 86400:.0f} days after the last pass, so nothing is removed by age; "
            "if the clock is right, run chatmail-expire --clock-is-right"
        )

    def look_at(self, users: Sequence[str]) -> None:
        """Processes the mailboxes of `users`. A failed step is reported, and the others continue."""
        for step in (self._expire_mail, self._empty_the_full, self._delete_folders):
            try:
                step(users)
            except DoveadmError as error:
                self._failed(str(error))

    def delete_unused(self, accounts: Accounts, removal: MailRemoval, root: Path) -> None:
        """Deletes unused accounts, and completes interrupted deletions."""
        since = _day(self._now) - timedelta(seconds=self._rules.accounts)
        users = accounts.unused(since) if self._rules.accounts else ()
        if self._dry_run:
            self._say(f"what=unused-accounts accounts={len(users)}")
            return
        gone: list[str] = []
        try:
            for batch in _batches(users):
                self._delete_batch(batch, accounts, removal, root, since, gone)
            removal.finish([found for user in gone if (found := home(root, user))])
        except OSError as error:
            self._failed(f"deleting: {error.strerror}")
        if gone:
            # Once more: the answer to a question of before a deletion may have been remembered since.
            self._does(self._doveadm.forget_accounts)
        self._say(f"what=unused-accounts accounts={len(gone)}")

    def _delete_batch(
        self,
        batch: Sequence[str],
        accounts: Accounts,
        removal: MailRemoval,
        root: Path,
        since: date,
        gone: list[str],
    ) -> None:
        """Adds the deleted accounts to `gone`. Then flushes Dovecot's cache, even if a deletion failed."""
        before = len(gone)
        try:
            for user in batch:
                if _delete(accounts, removal, home(root, user), user, since):
                    gone.append(user)
        finally:
            if len(gone) > before:
                # If it fails, deliveries to them are accepted for up to a minute.
                self._does(self._doveadm.forget_accounts)

    def summarise(self) -> None:
        """Prints the totals."""
        for what, numbers in self._done.items():
            self._say(f"what={what} " + " ".join(f"{name}={number}" for name, number in numbers.items()))
        if self._unreadable:
            self._say(f"what=unreadable messages={self._unreadable}")

    def _failed(self, error: str) -> None:
        self.failures += 1
        self._say(f'what=failure error="{error}"')

    def _expire_mail(self, users: Sequence[str]) -> None:
        query = expired(self._rules, self._now)
        if not query:
            return
        # The query also finds large read messages, which are younger.
        old_before = self._now - self._rules.mail if self._rules.mail else 0.0
        for some in _by_user(self._doveadm.messages(users, query)):
            self._remove("old-mail", [one for one in some if one.received < old_before])
            self._remove("large-mail", [one for one in some if one.received >= old_before])

    def _empty_the_full(self, users: Sequence[str]) -> None:
        for usage in list(self._doveadm.usage(users)):
            if full_mailbox.is_filling_up(usage.used, usage.limit):
                self._empty(usage.user)

    def _empty(self, user: str) -> None:
        try:
            found = trim(self._doveadm, user, self._now)
        except DoveadmError as error:
            self._failed(str(error))
        else:
            self._unreadable += found.unreadable
            self._remove("full-mailboxes", found.messages)

    def _delete_folders(self, users: Sequence[str]) -> None:
        if not self._rules.empty_folders:
            return
        made_before = self._now - self._rules.empty_folders
        for user, folder in self._doveadm.folders(users):
            if is_left_over(folder, made_before) and self._does(
                self._doveadm.delete_if_empty, user, folder.name
            ):
                self._done["empty-folders"]["folders"] += 1

    def _remove(self, why: str, messages: Sequence[StoredMessage]) -> None:
        if self._does(self._doveadm.expunge, messages):
            self._done[why]["messages"] += len(messages)
            self._done[why]["octets"] += sum(one.octets for one in messages)

    def _does(self, what: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> bool:
        """Calls `what`, unless it is a dry run. False if it failed: other mailboxes are still processed."""
        if self._dry_run:
            return True
        try:
            what(*arguments, **named)
        except DoveadmError as error:
            self._failed(str(error))
            return False
        return True


def expired(rules: config.ExpirySettings, now: float) -> tuple[str, ...]:
    """The search query for expired messages (doveadm-search-query(7)); empty if none ever expire."""
    queries: list[tuple[str, ...]] = []
    if rules.mail:
        queries.append(("BEFORE", str(int(now - rules.mail))))
    if rules.large_mail:
        before = str(int(now - rules.large_mail))
        queries.append(("(", "SEEN", "LARGER", str(rules.large), "BEFORE", before, ")"))
    if len(queries) == 2:
        return ("(", *queries[0], "OR", *queries[1], ")")
    return queries[0] if queries else ()


def is_left_over(folder: Folder, made_before: float) -> bool:
    """Whether to delete a folder: empty, not INBOX, and not new. (A new one is likely to get mail soon.)"""
    return folder.messages == 0 and folder.name.upper() != "INBOX" and folder.made < made_before


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would be removed, without removing it.")
@click.option(
    "--clock-is-right",
    is_flag=True,
    help="Trust the clock, although the last run was more than 7 days ago.",
)
def main(dry_run: bool, clock_is_right: bool) -> None:
    """Remove expired mail, empty folders and unused accounts (section [expiry] of chatmail.toml)."""
    try:
        status = run(dry_run=dry_run, clock_is_right=clock_is_right)
    except SQLAlchemyError as error:
        explained = fault.explained(error)
        print(f"chatmail-expire: {explained.advice}", file=sys.stderr)
        sys.exit(explained.status)
    except (OSError, UnderWayError) as error:
        sys.exit(f"chatmail-expire: {type(error).__name__}: {error}")
    sys.exit(status)


def run(*, dry_run: bool, clock_is_right: bool) -> int:
    """Runs one pass as the mailboxes' user; returns the exit status.

    Raises `SQLAlchemyError`, `OSError`, and `UnderWayError` while another pass runs.
    """
    settings = config.load_or_exit()
    root = Path(settings.store.mail)
    os.umask(0o007)
    _become_owner(root)
    return _run(settings, root, dry_run=dry_run, clock_is_right=clock_is_right)


def _run(settings: config.Config, root: Path, *, dry_run: bool, clock_is_right: bool) -> int:
    """Runs one pass; returns the exit status (sysexits.h)."""
    began, now = time.monotonic(), time.time()
    say = (lambda text: click.echo(f"dry-run {text}")) if dry_run else click.echo
    engine = existing_store(settings.store.url)
    names = ReservedNames(settings.accounts.names_kept)
    accounts, removal = Accounts(engine, names=names), MailRemoval(root)
    work = ExpiryPass(settings.expiry, Doveadm(), now, say, dry_run=dry_run)
    with Progress(root, now, kept=not dry_run) as progress:
        ahead = 0.0 if clock_is_right else passes.leapt(passes.last(root), now)
        if ahead:
            work.doubt_clock(ahead)
        elif not dry_run:
            passes.record_pass(root, now)
        work.delete_unused(accounts, removal, root)
        if not dry_run:
            if not ahead:
                names.release_due(engine)
                revision.forget_ended_sessions(engine, _day(now))
            # Overwrites deleted rows: of these accounts, and of earlier ones whose rows could not be
            # overwritten because the database was busy.
            scrub(engine)
        users = [one.address for one in accounts.list() if one.address > progress.reached]
        for batch in _batches(user for user in users if (place := home(root, user)) and place.is_dir()):
            work.look_at(batch)
            progress.reached = batch[-1]
        work.summarise()
        resumed = "yes" if progress.resumed else "no"
    spent = time.monotonic() - began
    say(f"what=pass accounts={len(users)} failures={work.failures} resumed={resumed} seconds={spent:.1f}")
    if ahead:
        # Not EX_TEMPFAIL: only an operator can fix the clock.
        return os.EX_OSERR
    # The next pass tries again.
    return os.EX_TEMPFAIL if work.failures else os.EX_OK


def _delete(accounts: Accounts, removal: MailRemoval, place: Path | None, user: str, since: date) -> bool:
    def put_away() -> None:
        if place is not None:
            removal.put_away(place)

    return accounts.delete(user, unused_since=since, beforehand=put_away)


def _by_user(messages: Iterable[StoredMessage]) -> Iterator[list[StoredMessage]]:
    """Groups messages that are sorted by user. On `DoveadmError`, yields the last group, then raises it."""
    mine: list[StoredMessage] = []
    try:
        for one in messages:
            if mine and one.user != mine[0].user:
                yield mine
                mine = []
            mine.append(one)
    except DoveadmError:
        yield mine
        raise
    yield mine


def _batches(users: Iterable[str]) -> Iterator[list[str]]:
    left = iter(users)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _become_owner(root: Path) -> None:
    """If root started the program, becomes the user that owns the mailboxes, as under the timer."""
    if os.geteuid() == 0:
        owner = root.stat()
        # Supplementary groups: one may read the configuration and the database, another the key of
        # `ReservedNames`.
        groups = [config.place().stat().st_gid]
        with suppress(OSError):
            groups.append(key_file().stat().st_gid)
        os.setgroups(groups)
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def _day(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()
