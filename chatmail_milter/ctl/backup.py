"""`chatmailctl backup` and `restore`: copies the whole relay to a directory while it runs, and back.

`restore` wants a deployed host without accounts.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from sqlite3 import DatabaseError

import click

from chatmail_milter.backup import copies
from chatmail_milter.backup.directory import BackupError, Directory, Manifest, manifest
from chatmail_milter.config import Config, load_or_exit
from chatmail_milter.ctl.context import accounts, store
from chatmail_milter.ctl.output import confirm, json_option, print_json
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError

# The services that read what is restored, in the order of their start. Postfix starts last: it takes mail.
TARGET = "chatmail.target"
READERS = (TARGET, "dovecot.service")
UNITS = (*READERS, "opendkim.service", "postfix.service")

# More than a mailbox gets between a backup and a loss, and few of the 2^32 that there are.
UIDS_LEFT_OUT = 1_000_000


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
            copies.copy_store(file, place.store)
        users = [one.address for one in accounts(engine).each()]
        number = copies.copy_mail(Doveadm(), root, users, place.mail, errors.append)
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


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True))
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def restore(directory: Path, yes: bool, as_json: bool) -> None:
    """Restore the relay that was backed up to DIRECTORY on this host.

    The playbook must have run on this host with the same mail domain, and it must have no accounts yet. Mail
    and logins stop meanwhile. Afterwards keys and configuration are those of the backup; run the playbook
    once more, with the variables of the former host. Run it as root.
    """
    config = load_or_exit()
    if os.geteuid() != 0:
        raise click.ClickException("run this as root, on the new host")
    try:
        place, owner = Directory(directory), Path(config.store.mail).stat()
        place.be_out_of_reach((owner.st_uid, owner.st_gid))
        found = place.manifest()
        _fits(config, found)
        if not yes:
            confirm(f"Make this host {found.domain} as of {found.made}, with {found.accounts} accounts")
        with stopped():
            if config.store.file is not None:
                copies.restore_store(place.store, config.store.file)
            files = place.read_files()
            users = copies.restore_mail(place.mail, Path(config.store.mail), found.domain)
            _leave_out_uids(users)
    except BackupError as error:
        raise click.ClickException(str(error)) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise click.ClickException(f"check the disk and the journal, then start over: {error}") from None
    if as_json:
        print_json(
            {"domain": found.domain, "accounts": found.accounts, "mailboxes": len(users), "files": files}
        )
        return
    click.echo(
        f"Restored {found.domain} as of {found.made}: accounts: {found.accounts}, mailboxes: {len(users)}."
    )
    click.echo("Run the playbook with the variables of the former host, then `chatmailctl doctor`.")


def _leave_out_uids(users: Sequence[str]) -> None:
    """Warns where it fails: the mail is there all the same, and starting over would not help."""
    try:
        # Dovecot asks the hooks about users.
        _systemctl("start", *READERS)
        Doveadm().leave_out_uids(users, UIDS_LEFT_OUT)
    except (DoveadmError, subprocess.CalledProcessError) as error:
        click.echo(f"see `chatmailctl doctor`: apps may miss mail, as UIDs are used again: {error}", err=True)


def _fits(config: Config, found: Manifest) -> None:
    """Raises `BackupError` where this host can't become that relay."""
    if found.domain != config.mail.domain:
        raise BackupError(
            f"deploy this host for {found.domain} first: it is {config.mail.domain}, and the backup is not"
        )
    if (found.store == "sqlite") != (config.store.file is not None):
        raise BackupError(f"deploy this host with a store in {found.store}, as the backup has it")
    # A database server was restored by its own means, with all accounts.
    if config.store.file is not None and next(iter(accounts(store()).each()), None) is not None:
        raise BackupError("choose another host: this one has accounts")
    mailboxes = Path(config.store.mail) / found.domain
    if mailboxes.is_dir() and any(mailboxes.iterdir()):
        raise BackupError(f"choose another host: this one has mail in {mailboxes}")


@contextmanager
def stopped() -> Iterator[None]:
    """Stops the programs that read the store, the keys or mail; always starts them again at the end."""
    # systemctl waits for the units that it is given, and not for those that stop with a target.
    ours = _systemctl("show", "--property=ConsistsOf", "--value", TARGET).split()
    _systemctl("stop", *reversed(UNITS), *ours)
    try:
        yield
    finally:
        _systemctl("start", *UNITS)
        # nginx has the certificate of before.
        _systemctl("try-reload-or-restart", "nginx.service")


def _systemctl(*words: str) -> str:
    """What it printed. Raises `CalledProcessError`."""
    command = ["/usr/bin/systemctl", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603  (our own words, no shell)
