"""Checks that configuration is as the playbook wrote it, and finds configuration that no program reads.

At the end of a run the playbook writes the checksums of its files to `WRITTEN`, in sha256sum's format.
A key of `chatmail.toml` that no program knows is no finding: with one, no program starts.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from chatmail_milter.doctor import Finding, FindingState, good, unknown
from chatmail_milter.store.sanitize import printable

SUBJECT = "files"
WRITTEN = Path("/etc/chatmail/written.sha256")
# Directories in which an admin looks for settings, and the file that has to include them.
INCLUDED = {
    Path("/etc/dovecot/conf.d"): Path("/etc/dovecot/dovecot.conf"),
    Path("/etc/nginx/conf.d"): Path("/etc/nginx/nginx.conf"),
    Path("/etc/nginx/sites-enabled"): Path("/etc/nginx/nginx.conf"),
}
DROP_INS = Path("/etc/systemd/system")
UNITS = (DROP_INS, Path("/lib/systemd/system"))
# Files that came with a Debian package are no admin's.
PACKAGED = (Path("/var/lib/dpkg/status"), Path("/var/lib/ucf/hashfile"))
_UNUSED = re.compile(r"warning: (\S+): unused parameter: (\S+?)=")
_OURS = re.compile(r"(?:chatmail|mxdeliv)\S*\.(?:service|socket|timer|target)\.d")

# What a program writes to stderr. Raises `OSError` or `subprocess.SubprocessError`.
Run = Callable[[Sequence[str]], str]


def run(command: Sequence[str]) -> str:
    """Runs one of Postfix's programs; returns its warnings."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stderr  # noqa: S603


def check_written(record: Path = WRITTEN) -> Iterator[Finding]:
    """Checks each file of `record`."""
    try:
        lines = record.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        yield unknown(SUBJECT, "drift", f"{record} can't be read: only the playbook writes it")
        return
    wrong = 0
    for line in lines:
        digest, _, path = line.partition("  ")
        found = _difference(Path(path), digest)
        if found is None:
            yield unknown(SUBJECT, path, "can't be read: run this as root")
        elif found:
            wrong += 1
            yield Finding(
                SUBJECT, path, FindingState.SOON, found, "the next run of the playbook undoes the change",
                "set the variable of the playbook for it, and run the playbook; to see the change first: "
                "ansible-playbook site.yml --check --diff",
            )  # fmt: skip
    if not wrong:
        yield good(SUBJECT, "drift", f"{len(lines)} files are as the playbook wrote them")


def _difference(path: Path, digest: str) -> str | None:
    """Empty if the file has this checksum; None if it can't be read."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError:
        return None
    return "" if hashlib.sha256(content).hexdigest() == digest else "was changed after the playbook wrote it"


def check_unread(
    run: Run = run,
    included: Mapping[Path, Path] = INCLUDED,
    drop_ins: Path = DROP_INS,
    units: Sequence[Path] = UNITS,
    packaged: Sequence[Path] = PACKAGED,
) -> Iterator[Finding]:
    """Finds parameters, files and drop-ins that no program reads."""
    found = [*_files(included, packaged), *_drop_ins(drop_ins, units)]
    try:
        found += _parameters(run(["/usr/sbin/postconf", "-n"]))
    except (OSError, subprocess.SubprocessError) as error:
        yield unknown(SUBJECT, "parameters of Postfix", f"postconf does not answer: {error}")
    yield from found
    if not found:
        yield good(SUBJECT, "unread", "no configuration is found that no program reads")


def _unread(what: str, found: str, mend: str) -> Finding:
    return Finding(SUBJECT, what, FindingState.SOON, found, "the setting is not in force", mend)


def _parameters(warnings: str) -> Iterator[Finding]:
    for file, name in _UNUSED.findall(warnings):
        # Postfix takes any word for a name.
        yield _unread(
            f"{file}: {printable(name)}", "is no parameter of Postfix, and no other one uses it",
            f"correct its name, or remove it from {file}",
        )  # fmt: skip


def _files(included: Mapping[Path, Path], packaged: Sequence[Path]) -> Iterator[Finding]:
    stock = _checksums(packaged)
    for directory, reader in included.items():
        try:
            includes = re.search(rf"(?m)^\s*!?include\w*\s.*\b{directory.name}/", reader.read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        for path in [] if includes else sorted(directory.glob("*")):
            if path.is_file() and not _is_stock(path, stock):
                yield _unread(
                    str(path), f"{reader} does not include it",
                    f"set the variable of the playbook for it (chatmail_settings, for ours), and rm '{path}'",
                )  # fmt: skip


def _is_stock(path: Path, stock: set[tuple[str, str]]) -> bool:
    """Whether the file is as its package has it, or has nothing but comments."""
    try:
        content = path.read_bytes()
    except OSError:
        return True
    lines = [line.strip() for line in content.splitlines()]
    if not any(line and not line.startswith(b"#") for line in lines):
        return True
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return (str(path.resolve()), digest) in stock


def _checksums(packaged: Sequence[Path]) -> set[tuple[str, str]]:
    """Path and MD5 of packages' configuration files: ` PATH MD5` in dpkg's file, `MD5 PATH` in ucf's."""
    found: set[tuple[str, str]] = set()
    for file in packaged:
        try:
            text = file.read_text("utf-8", "replace")
        except OSError:
            continue
        found.update(re.findall(r"(?m)^ (/\S+) ([0-9a-f]{32})\b", text))
        found.update((path, digest) for digest, path in re.findall(r"(?m)^([0-9a-f]{32}) +(/\S+)$", text))
    return found


def _drop_ins(place: Path, units: Sequence[Path]) -> Iterator[Finding]:
    for path in sorted(place.glob("*.d")):
        # Those of an instance are for the template's unit.
        unit = re.sub(r"@[^.]*", "@", path.name.removesuffix(".d"))
        if not _OURS.fullmatch(path.name) or any((one / unit).exists() for one in units):
            continue
        if any(path.glob("*.conf")):
            mend = f"move it to the unit's new name, or rm -r '{path}'"
            yield _unread(str(path), f"there is no unit {unit}", mend)
