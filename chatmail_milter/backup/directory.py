"""The directory of a backup. Only root can read it, and in `mail/` the mailboxes' user.

    manifest.json   domain, time and counts; written last: without it a backup is incomplete
    files.tar       keys, certificates and configuration, by their paths; owners by name
    store.sqlite    the store
    mail/LOCAL-PART/Maildir   the output of `doveadm backup`

A backup into the directory of an earlier one writes only what is new. Left out are Postfix's queue and the
journal.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

FORMAT = 1
# In the order in which they are restored. What does not exist is left out: /etc/letsencrypt is there where
# certificates are by ACME. Packet filters and DNS records are the playbook's, of the host's own addresses.
PATHS = (
    "etc/chatmail/chatmail.toml",
    "etc/chatmail/hooks.secret",
    "etc/chatmail/names.key",
    "etc/chatmail/store.key",
    "etc/chatmail/turn.secrets",
    "etc/chatmail/push.url",
    "etc/chatmail/wake.url",
    "etc/chatmail/tls",
    "etc/letsencrypt",
    "etc/opendkim/KeyTable",
    "etc/opendkim/SigningTable",
    "etc/opendkim/keys",
)
# What is needed to be the same relay; without one of them there is no backup.
NEEDED = ("etc/chatmail/chatmail.toml", "etc/chatmail/names.key", "etc/chatmail/store.key")


class BackupError(Exception):
    """A backup or restore is impossible; the text begins with what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of manifest.json. `store`: `sqlite`, or a database that is not in the backup."""

    format: int
    domain: str
    version: str
    made: str
    store: str
    accounts: int
    mailboxes: int


class Directory:
    """The directory at the absolute `path`. Creating this object reads and writes nothing."""

    def __init__(self, path: Path) -> None:
        if any(sign in str(path) for sign in ":%\n"):
            # doveadm(1) would take them for the end of a path, or for a variable.
            raise BackupError(f"choose a directory without `:` and `%` in its path: {path}")
        self.path = path
        self.store = path / "store.sqlite"
        self.mail = path / "mail"
        self._files = path / "files.tar"
        self._manifest = path / "manifest.json"

    def be_out_of_reach(self, mail_owner: tuple[int, int]) -> None:
        """Raises `BackupError` if the mailboxes' user could replace the directory.

        Root writes keys to it, and reads them from there.
        """
        for one in (self.path, *self.path.parents):
            if mail_owner[0] != 0 and one.exists() and _may_rename_in(one.stat(), mail_owner):
                raise BackupError(
                    f"choose a directory like /var/backups/relay: the mailboxes' user can write to {one}"
                )

    def be_passable(self, mail_owner: tuple[int, int]) -> None:
        """Raises `BackupError` if the mailboxes' user, as whom doveadm writes, can't reach the directory."""
        _, gid = mail_owner
        for above in self.path.parents:
            found = above.stat() if above.exists() else None
            if found is None or found.st_mode & 0o001 or (found.st_gid == gid and found.st_mode & 0o010):
                continue
            raise BackupError(
                "choose a directory that the mailboxes' user can reach, like /var/backups/relay: "
                f"{above} is closed to other users"
            )

    def make(self, mail_owner: tuple[int, int]) -> None:
        """Creates the directory, or continues with an earlier backup. `mail_owner`: user and group ID.

        Raises `BackupError` if it contains other files.
        """
        with suppress(FileExistsError):
            self.path.mkdir(mode=0o700, parents=True)
        there = {one.name for one in self.path.iterdir()}
        ours = {"manifest.json", "files.tar", "store.sqlite", "mail"}
        if there - ours - {f"{name}.new" for name in ours}:
            raise BackupError(f"choose an empty directory, or that of an earlier backup: {self.path}")
        uid, gid = mail_owner
        # doveadm writes as the mailboxes' user, who has to come by here.
        os.chown(self.path, 0, gid)
        self.path.chmod(0o710)
        with suppress(FileExistsError):
            self.mail.mkdir(mode=0o700)
        if self.mail.is_symlink():
            raise BackupError(f"choose another directory: {self.mail} is a link")
        os.chown(self.mail, uid, gid, follow_symlinks=False)

    def write_files(self, root: Path = Path("/")) -> list[str]:
        """Backs up the files below `root`; returns the paths. Raises `BackupError` if one is missing."""
        missing = [one for one in NEEDED if not (root / one).exists()]
        if missing:
            raise BackupError(f"run this on the relay, after the playbook: there is no /{missing[0]}")
        found = [one for one in PATHS if (root / one).exists()]
        with _replaced(self._files) as new:
            _tar("--create", "--file", str(new), "--directory", str(root), "--", *found)
        return found

    def read_files(self, root: Path = Path("/")) -> list[str]:
        """Restores the files below `root`, with modes and owners; returns the paths. Others are an error."""
        names = [one.rstrip("/") for one in _tar("--list", "--file", str(self._files)).splitlines()]
        strange = [name for name in names if not any(_is_below(name, one) for one in PATHS)]
        if strange:
            raise BackupError(f"choose a backup that is unaltered: it has the file {strange[0]}")
        _tar(
            "--extract", "--file", str(self._files), "--directory", str(root),
            "--preserve-permissions", "--same-owner",
        )  # fmt: skip
        return [one for one in PATHS if any(_is_below(name, one) for name in names)]

    def write_manifest(self, manifest: Manifest) -> None:
        """Marks the backup as complete."""
        with _replaced(self._manifest) as new:
            new.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")

    def begin(self) -> None:
        """Marks the backup as incomplete."""
        self._manifest.unlink(missing_ok=True)

    def manifest(self) -> Manifest:
        """The manifest. Raises `BackupError` if this is not a complete backup."""
        try:
            found = Manifest(**json.loads(self._manifest.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise BackupError(f"choose a finished backup: there is no {self._manifest}") from None
        except (ValueError, TypeError) as error:
            raise BackupError(f"choose a backup that is unaltered: {self._manifest}: {error}") from None
        if found.format != FORMAT:
            raise BackupError(
                f"install the program that made it, {found.version}: its format is {found.format}"
            )
        return found


def manifest(domain: str, version: str, store: str, made: datetime, counts: tuple[int, int]) -> Manifest:
    """`counts`: accounts, and mailboxes."""
    return Manifest(FORMAT, domain, version, made.isoformat(timespec="seconds"), store, *counts)


def _may_rename_in(directory: os.stat_result, user: tuple[int, int]) -> bool:
    """Whether the user can replace what is in it that belongs to others; inode(7) on the sticky bit."""
    uid, gid = user
    mode, others = directory.st_mode, directory.st_mode & stat.S_IWOTH
    writable = others or (directory.st_gid == gid and mode & stat.S_IWGRP)
    return directory.st_uid == uid or bool(writable and not mode & stat.S_ISVTX)


def _is_below(name: str, path: str) -> bool:
    return ".." not in name.split("/") and (name == path or name.startswith(f"{path}/"))


def _tar(*arguments: str) -> str:
    """Runs tar(1). Not `tarfile`, which in Debian 12 follows any paths of an archive."""
    done = subprocess.run(["/usr/bin/tar", *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BackupError(f"see to the disk and run this as root: tar says: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A new file beside `path`, for root alone, which replaces it when it is complete."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
