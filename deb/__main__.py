"""`python -m deb`: builds the package from dist/wheelhouse, unless it is up to date.

The file is dist/chatmail-milter_VERSION_PROCESSOR.deb; dist/chatmail-milter.deb, for the playbook, is a link
to it. On Debian 13 VERSION ends in `+deb13`, and the link is chatmail-milter-13.deb, made from wheelhouse-13.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import click

from deb import package, release, units

ROOT = Path(__file__).resolve().parents[1]
WHEELHOUSE = ROOT / f"dist/wheelhouse{release.SUFFIX}"
# Without a repository, as in `build_wheelhouse.py`: the zip format begins there.
FIRST_DAY_OF_ZIP = 315532800
# A commit that touches none of them makes no other package.
DATED_BY = (
    "ansible/roles/chatmail", "CHANGELOG.md", "LICENSE", "README.md", "chatmail_milter", "deb",
    "dovecot/auth.lua", "mxdeliv_app",
    "pyproject.toml", "requirements", "setup.cfg",
)  # fmt: skip


@click.command()
@click.option("--version", help="Another version than setup.cfg's.")
@click.option("--directory", type=click.Path(path_type=Path), default=ROOT / "dist", help="Where it is put.")
@click.option("--check", is_flag=True, help="Build nothing; fail unless it is of this tree.")
def main(version: str | None, directory: Path, check: bool) -> None:
    """Build the Debian package."""
    # dpkg-deb keeps the modes of what it packs, and refuses some.
    os.umask(0o022)
    link = directory / f"{package.NAME}{release.SUFFIX}.deb"
    is_fresh = [
        sys.executable,
        str(ROOT / "ansible/build_wheelhouse.py"),
        "--check",
        "--directory",
        str(WHEELHOUSE),
    ]
    fresh = subprocess.run(is_fresh, check=False, capture_output=check).returncode == 0  # noqa: S603  (our own words)
    if check:
        if not fresh or field(link, "Chatmail-Sources") != sources():
            made = "of another state of this tree" if link.exists() else "missing"
            sys.exit(f"{link} is {made}: run `make deb`")
        return
    if not fresh:
        sys.exit(1)
    ours = distribution(package.NAME)
    edition = package.Edition(
        version or ours.version + release.REVISION, architecture(), source_date(), sources()
    )
    archive = directory / edition.file
    stamp = archive.with_suffix(".sources")
    wanted = f"{edition.sources} {edition.epoch} {package.MAINTAINER}\n"
    if not (archive.exists() and stamp.exists() and stamp.read_text("utf-8") == wanted):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".deb-") as scratch:
            stamp.unlink(missing_ok=True)
            built = package.build(edition, ours, WHEELHOUSE, Path(scratch))
            shutil.move(built, archive)
            stamp.write_text(wanted, "utf-8")
        click.echo(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB")
    else:
        click.echo(f"{archive}: nothing changed")
    link.unlink(missing_ok=True)
    link.symlink_to(archive.name)


def said(*words: str | Path) -> str:
    """The output of a program; empty if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  (our own words, no shell)
    return done.stdout.strip() if done.returncode == 0 else ""


def architecture() -> str:
    return said("/usr/bin/dpkg", "--print-architecture") or sys.exit("can't build: dpkg is missing")


def field(archive: Path, name: str) -> str:
    """A field of an archive's control data; empty if it can't be read."""
    return said("/usr/bin/dpkg-deb", "--field", archive, name)


def source_date() -> int:
    """$SOURCE_DATE_EPOCH, else the time of the last commit to the package (reproducible-builds.org)."""
    given = os.environ.get("SOURCE_DATE_EPOCH") or said(
        "/usr/bin/git", "-C", ROOT, "log", "-1", "--format=%ct", "--", *DATED_BY
    )
    return int(given or FIRST_DAY_OF_ZIP)


def sources() -> str:
    """SHA-256 of all sources of the package; the wheelhouse has a digest of its own sources."""
    files = [WHEELHOUSE / "requirements.txt", ROOT / "CHANGELOG.md", ROOT / "dovecot/auth.lua"]
    files += [path for path in sorted((ROOT / "deb").rglob("*")) if path.is_file()]
    parts = [
        (str(path.relative_to(ROOT)), path.read_bytes()) for path in files if "__pycache__" not in path.parts
    ]
    parts += [(path, text.encode()) for path, text in units.files().items()]
    parts += [("depends", " ".join(units.variables()["chatmail_packages"]).encode())]
    total = hashlib.sha256()
    for name, content in parts:
        total.update(hashlib.sha256(name.encode() + b"\0" + content).digest())
    return total.hexdigest()


if __name__ == "__main__":
    main()
