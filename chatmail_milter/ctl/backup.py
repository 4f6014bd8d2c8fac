"""`chatmailctl backup`: backs up the whole relay to a directory while it runs."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from sqlite3 import DatabaseError

import click

from chatmail_milter.backup import mail
from chatmail_milter.backup import store as store_file
from chatmail_milter.backup.directory import BackupError, Directory, manifest
from chatmail_milter.config import load_or_exit
from chatmail_milter.ctl.context import accounts, store
from chatmail_milter.ctl.output import json_option, print_json
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, resolve_path=True))
@json_option
def backup(directory: Path, as_json: bool) -> None:
    """Back up this whole relay to DIRECTORY.

    The backup has the store, DKIM and TLS keys, the configuration, and the mailboxes with their UIDs. The
    relay keeps running. If DIRECTORY has an earlier backup, only new mail is copied. The backup contains the
    relay's keys and all mail: protect it like the relay. Run it as root. `chatmailctl restore` restores it.
    """
    config = load_or_exit()
    if os.geteuid() != 0:
        raise click.ClickException("run this as root, on the relay")
    root, file = Path(config.store.mail), config.store.file
    errors: list[DoveadmError] = []
    try:
        owner = root.stat()
        place = Directory(directory)
        place.be_out_of_reach((owner.st_uid, owner.st_gid))
        place.be_passable((owner.st_uid, owner.st_gid))
        place.make((owner.st_uid, owner.st_gid))
        place.begin()
        place.write_files()
        engine = store()
        if file is not None:
            store_file.copy_out(file, place.store)
        users = [one.address for one in accounts(engine).each()]
        number = mail.copy_out(Doveadm(), root, users, place.mail, errors.append)
        if errors:
            raise BackupError(f"see `chatmailctl doctor`: mailboxes not copied: {len(errors)}: {errors[0]}")
        kind = "sqlite" if file is not None else engine.dialect.name
        made = manifest(
            config.mail.domain, version("chatmail-milter"), kind, datetime.now(UTC), (len(users), number)
        )
        place.write_manifest(made)
    except BackupError as error:
        raise click.ClickException(str(error)) from None
    except (OSError, DatabaseError) as error:
        raise click.ClickException(f"check the disk, and that this host is the relay: {error}") from None
    if as_json:
        print_json({"directory": str(directory), "accounts": len(users), "mailboxes": number, "store": kind})
        return
    click.echo(f"Backed up to {directory}: accounts: {len(users)}, mailboxes: {number}.")
    if file is None:
        click.echo(
            f"The backup does not contain the store: back up {kind} with the database's own tools, now."
        )
