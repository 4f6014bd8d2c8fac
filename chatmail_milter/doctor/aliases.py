"""Aliases that carry mail of other domains into a chat domain, where Postfix serves both.

Postfix resolves aliases after the milter, which judged the message by the recipient before that. So cleartext
can come in. Programs that an alias or a `.forward` file runs are not checked, nor tables on servers (LDAP,
SQL). Aliases of a chat domain's own addresses do no harm, because the milter checked that mail.
https://www.postfix.org/ADDRESS_REWRITING_README.html
"""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chatmail_milter.doctor import Finding, FindingState, good, unknown

SUBJECT = "aliases"
# Those that give a message another recipient, or one more.
PARAMETERS = (
    "alias_maps", "always_bcc", "canonical_maps", "luser_relay", "recipient_bcc_maps",
    "recipient_canonical_maps", "sender_bcc_maps", "virtual_alias_maps",
)  # fmt: skip
_INDEXED = ("btree", "cdb", "dbm", "hash", "lmdb", "sdbm")
_TEXT = ("pcre", "regexp", "texthash")
# Their contents are in the parameter itself.
_HERE = ("inline", "static")
_TABLE = re.compile(r"(?:proxy:)?([a-z]+):([^\s,{}]*)")
_INCLUDED = re.compile(r":include:(/[^\s,\"]+)")
_LONGEST = 1 << 20  # octets of a file

# What a program prints. Raises `OSError` or `subprocess.SubprocessError`.
Run = Callable[[Sequence[str]], str]


def run(command: Sequence[str]) -> str:
    """Run one of Postfix's programs."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout  # noqa: S603


def homes() -> list[Path]:
    """The home directories of this host's users."""
    return sorted({Path(one.pw_dir) for one in pwd.getpwall()})


def check(
    chat_domains: Sequence[str], run: Run = run, homes: Callable[[], list[Path]] = homes
) -> Iterator[Finding]:
    """Each table and `.forward` file that names an address of `chat_domains` for one of another domain."""
    if not chat_domains:
        yield good(SUBJECT, "all", "mail for every domain of this host is checked")
        return
    ours = re.compile(rf"@(?:{'|'.join(map(re.escape, chat_domains))})(?!\.?[\w-])", re.IGNORECASE)
    found = 0
    try:
        for one in _parameters(ours, run):
            found += 1
            yield one
        forward_path = run(["/usr/sbin/postconf", "-h", "forward_path"])
    except (OSError, subprocess.SubprocessError) as error:
        yield unknown(SUBJECT, "postconf", f"does not answer: {type(error).__name__}")
        return
    for home in homes():
        for path in _forwards(home, forward_path):
            if any(ours.search(line) for line in _lines(path)):
                found += 1
                yield _bad(str(path), "sends on to a chat domain")
    if not found:
        yield good(SUBJECT, "all", "none leads from another domain into a chat domain")


def _parameters(ours: re.Pattern[str], run: Run) -> Iterator[Finding]:
    for name in PARAMETERS:
        value = run(["/usr/sbin/postconf", "-xh", name])
        tables = _TABLE.findall(value)
        if (not tables or any(kind in _HERE for kind, _ in tables)) and ours.search(value):
            yield _bad(name, "names a chat domain")
        for kind, place in tables:
            what = f"{name}, {kind}:{place}"
            if kind in _INDEXED:
                # What is in force, which the text beside it may not be.
                try:
                    lines = run(["/usr/sbin/postmap", "-s", f"{kind}:{place}"]).splitlines()
                except subprocess.SubprocessError as error:
                    yield unknown(SUBJECT, what, f"can't be listed: {type(error).__name__}")
                    continue
            elif kind in _TEXT:
                lines = _lines(Path(place).resolve())
            else:
                if kind not in _HERE:
                    yield unknown(SUBJECT, what, "can't be listed: see that it leads to no chat domain")
                continue
            leading = [key for key in _leading(lines, ours) if not ours.search(key)]
            if leading:
                yield _bad(
                    what, f"sends mail for {leading[0]} to a chat domain; of this kind: {len(leading)}"
                )


def _leading(lines: Sequence[str], ours: re.Pattern[str]) -> Iterator[str]:
    """The keys whose values name an address of ours, also in a file that they include."""
    key = ""
    for line in lines:
        value = line
        if line[:1] not in (" ", "\t"):
            key, *rest = line.split(maxsplit=1)
            value = rest[0] if rest else ""
        included = [one for path in _INCLUDED.findall(value) for one in _lines(Path(path))]
        if key and any(ours.search(one) for one in (value, *included)):
            yield key.rstrip(":")


def _lines(path: Path) -> list[str]:
    """The lines of a file without comments; none if it can't be read, or is a user's FIFO or link."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return []
        text = os.read(file, _LONGEST).decode("utf-8", "replace")
    finally:
        os.close(file)
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _forwards(home: Path, forward_path: str) -> Iterator[Path]:
    """The files of local(8) in a home directory; those for extensions of the address, too."""
    for one in re.split(r"[\s,]+", forward_path.strip()):
        name = re.fullmatch(r"\$(?:home|\{home\})/([^/$]+)(\$.*)?", one)
        if name is not None:
            yield from home.glob(name[1] + ("*" if name[2] else ""))


def _bad(what: str, found: str) -> Finding:
    return Finding(
        SUBJECT, what, FindingState.BAD, found,
        "Postfix resolves it after the milter: cleartext reaches the chat domain",
        "remove it there, or let the sender write to the chat domain",
    )  # fmt: skip
