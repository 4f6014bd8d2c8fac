"""`chatmailctl account export` and `import`: move accounts between relays, as JSON lines.

    {"address": …, "password_hash": "{SCHEME}…", "created": "2026-03-02", "last_login": …, "suspended": …,
     "quota": …}

Lines (https://jsonlines.org) are processed one by one, so memory use does not depend on their number. Hashes
have Dovecot's format: https://doc.dovecot.org/2.3/configuration_manual/authentication/password_schemes/
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import count
from typing import Annotated, BinaryIO

import click
import msgspec
from sqlalchemy import Engine

from chatmail_milter.accounts import credentials
from chatmail_milter.config import load_or_exit
from chatmail_milter.ctl.context import accounts, store
from chatmail_milter.store.accounts import Account
from chatmail_milter.store.policies import Suspensions
from chatmail_milter.store.sanitize import printable

# What Dovecot verifies, without PLAIN, MD5 and the like: whoever reads the store would have the passwords.
SCHEMES = frozenset(
    {
        "ARGON2ID",
        "ARGON2I",
        "BLF-CRYPT",
        "SHA512-CRYPT",
        "SHA256-CRYPT",
        "SSHA512",
        "SSHA256",
        "PBKDF2",
        "CRYPT",
    }
)
_HASH = re.compile(r"\{([A-Z0-9-]+)(?:\.[A-Z0-9]+)?\}([!-~]+)\Z", re.IGNORECASE)
_LONGEST_HASH = 255
_LONGEST_LINE = 4096
_AT_ONCE = 500
_SHOWN = 200  # characters of what is wrong


class TransferLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One account."""

    address: str
    password_hash: str
    created: date
    last_login: date | None = None
    suspended: date | None = None
    quota: Annotated[int, msgspec.Meta(ge=1, le=1 << 60)] | None = None  # octets; None: as the others'


@click.command("export")
def export() -> None:
    """Print all accounts as JSON lines. They have password hashes: protect the output like the store."""
    engine = store()
    suspended = Suspensions(engine).list()
    encoder = msgspec.json.Encoder()
    out = sys.stdout.buffer
    try:
        for one in accounts(engine).each():
            since = suspended.get(one.address)
            line = TransferLine(one.address, one.password_hash, one.created, one.last_login, since, one.quota)
            out.write(encoder.encode(line) + b"\n")
        out.flush()
    except BrokenPipeError:
        # Whoever reads has enough; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--reuse-names", is_flag=True, help="Allow reserved names, of deleted and expired accounts.")
def import_(file: BinaryIO, reuse_names: bool) -> None:
    """Create the accounts listed in FILE (- for standard input).

    FILE has the lines that `account export` prints. Existing accounts are not changed. The import stops at an
    invalid line; the accounts before it have been created. Correct the line and import FILE again.
    """
    engine = store()
    domain = load_or_exit().mail.domain
    batch: list[TransferLine] = []
    new = reserved = total = 0

    def take() -> None:
        nonlocal new, reserved, batch
        made, refused = _take(engine, batch, reuse=reuse_names)
        new, reserved, batch = new + made, reserved + refused, []

    wrong: _BadLineError | None = None
    try:
        for line in _lines(file, domain):
            batch.append(line)
            total += 1
            if len(batch) == _AT_ONCE:
                take()
    except _BadLineError as error:
        wrong = error
    take()
    here = total - new - reserved
    before = f"; {here} {'was' if here == 1 else 'were'} here before" if here else ""
    click.echo(f"Made {new} account{'' if new == 1 else 's'}{before}.")
    if reserved:
        click.echo(f"Left out {reserved} with reserved names; --reuse-names would create them.")
    if wrong is not None:
        raise click.ClickException(f"correct {wrong}")


class _BadLineError(Exception):
    """A line is invalid; the message has its number and the reason."""


def _lines(file: BinaryIO, domain: str) -> Iterator[TransferLine]:
    decoder = msgspec.json.Decoder(TransferLine)
    for number in count(1):
        # Not `for raw in file`: a line may be a gigabyte.
        raw = file.readline(_LONGEST_LINE + 1)
        if not raw:
            return
        if not raw.strip():
            continue
        try:
            if len(raw) > _LONGEST_LINE:
                raise ValueError("is too long")
            line = decoder.decode(raw)
            _check(line, domain)
        except (ValueError, UnicodeDecodeError, RecursionError) as error:
            raise _BadLineError(f"line {number}: {printable(str(error))[:_SHOWN]}") from None
        yield line


def _check(line: TransferLine, domain: str) -> None:
    reason = credentials.refuse_name(domain, line.address)
    if reason:
        raise ValueError(f"address: {reason}")
    found = _HASH.fullmatch(line.password_hash)
    if found is None or len(line.password_hash) > _LONGEST_HASH:
        raise ValueError("password_hash: must be {SCHEME} and a hash, as doveadm pw prints it")
    if found[1].upper() not in SCHEMES:
        raise ValueError(f"password_hash: the scheme must be one of {', '.join(sorted(SCHEMES))}")


def _take(engine: Engine, lines: Sequence[TransferLine], *, reuse: bool) -> tuple[int, int]:
    """Creates those accounts that don't exist. Returns their number, and that of the reserved names."""
    rows = [Account(one.address, one.password_hash, one.created, one.last_login, one.quota) for one in lines]
    new, reserved = accounts(engine).carry_over(rows, reuse=reuse)
    suspended = {one.address: one.suspended for one in lines if one.suspended and one.address in new}
    if suspended:
        Suspensions(engine).suspend_all(suspended)
    return len(new), len(reserved)
