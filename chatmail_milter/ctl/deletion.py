"""Deletes an account: its rows in the store, its open sessions and its mail."""

from __future__ import annotations

from pathlib import Path

import click
from sqlalchemy import Engine

from chatmail_milter.ctl.context import accounts
from chatmail_milter.ctl.dovecot import end_of, forget_accounts
from chatmail_milter.mailboxes.home import Removal, home
from chatmail_milter.store.engine import scrub
from chatmail_milter.store.revision import wait_for_caches_to_expire


def delete_account(engine: Engine, root: Path, address: str) -> bool:
    """Deletes the account of a canonical address, whose mail is below `root`; False if there is none.

    Also deletes mail without an account, which arrived during an earlier deletion.
    """
    removal, mailbox = Removal(root), home(root, address)
    found: list[Path] = []

    def put_away() -> None:
        if mailbox is not None and (place := removal.put_away(mailbox)):
            found.append(place)

    try:
        if not accounts(engine).delete(address, beforehand=put_away):
            put_away()
            if not found:
                return False
        wait_for_caches_to_expire()
        forget_accounts()
        # Whoever was logged in by IMAP would go on, and might make the mailbox once more.
        end_of(address, found[0] if found else None)
        # Once more: the answer to a question of before the deletion may have been remembered since.
        forget_accounts()
        removal.finish([mailbox] if mailbox is not None else [])
        if not scrub(engine):
            click.echo(
                "The store is busy: its log file has traces of the account until chatmail-expire runs.",
                err=True,
            )
    except PermissionError:
        raise click.ClickException("run this as root, which removes the mail") from None
    return True
