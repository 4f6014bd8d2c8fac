"""`chatmailctl restore`: restores a relay from a backup, on a deployed host without accounts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from chatmail_milter.backup import mail
from chatmail_milter.backup import store as store_file
from chatmail_milter.backup.directory import BackupError, Directory, Manifest
from chatmail_milter.config import Config, load_or_exit
from chatmail_milter.ctl.context import accounts, store
from chatmail_milter.ctl.output import confirm, json_option, print_json

# Whoever reads what is restored, in the order in which they are started.
UNITS = ("chatmail.target", "dovecot.service", "opendkim.service", "postfix.service")


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
        with _stopped():
            if config.store.file is not None:
                store_file.copy_in(place.store, config.store.file)
            files = place.read_files()
            number = mail.copy_in(place.mail, Path(config.store.mail), found.domain)
    except BackupError as error:
        raise click.ClickException(str(error)) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise click.ClickException(f"check the disk and the journal, then start over: {error}") from None
    if as_json:
        print_json({"domain": found.domain, "accounts": found.accounts, "mailboxes": number, "files": files})
        return
    click.echo(
        f"Restored {found.domain} as of {found.made}: accounts: {found.accounts}, mailboxes: {number}."
    )
    click.echo("Run the playbook with the variables of the former host, then `chatmailctl doctor`.")


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
def _stopped() -> Iterator[None]:
    """Stops the programs that read the store, the keys or mail; always starts them again at the end."""
    _systemctl("stop", *reversed(UNITS))
    try:
        yield
    finally:
        _systemctl("start", *UNITS)
        # nginx has the certificate of before.
        _systemctl("try-reload-or-restart", "nginx.service")


def _systemctl(*words: str) -> None:
    subprocess.run(["/usr/bin/systemctl", *words], check=True)  # noqa: S603  (our own words, no shell)
