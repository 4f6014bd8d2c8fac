"""`python -m deb`: dist/chatmail-milter_VERSION_amd64.deb out of dist/wheelhouse, unless it is up to date."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import click

from deb import package, units

ROOT = Path(__file__).resolve().parents[1]
# Without a repository, as in `build_wheelhouse.py`: the zip format begins there.
FIRST_DAY_OF_ZIP = 315532800
# The wheelhouse is for what it was made on.
BUILT_ON = "Python 3.11, x86_64"
SOURCES = ("deb", "ansible/roles/chatmail", "dovecot/auth.lua", "CHANGELOG.md")


@click.command()
@click.option("--version", help="Another version than setup.cfg's.")
@click.option("--directory", type=click.Path(path_type=Path), default=ROOT / "dist", help="Where it is put.")
def main(version: str | None, directory: Path) -> None:
    """Build the Debian package."""
    here = f"Python {sys.version_info.major}.{sys.version_info.minor}, {platform.machine()}"
    if here != BUILT_ON:
        sys.exit(f"can't build: the package is for Debian 12 on amd64 ({BUILT_ON}); this is {here}")
    ours = distribution(package.NAME)
    wheelhouse = ROOT / "dist/wheelhouse"
    check = [sys.executable, str(ROOT / "ansible/build_wheelhouse.py"), "--check"]
    if subprocess.run(check, check=False).returncode:  # noqa: S603  (our own words, no shell)
        sys.exit(1)
    version = version or ours.version
    archive = directory / f"{package.NAME}_{version}_amd64.deb"
    stamp = archive.with_suffix(".sources")
    epoch = source_date()
    wanted = f"{sources(wheelhouse)} {epoch}\n"
    if archive.exists() and stamp.exists() and stamp.read_text("utf-8") == wanted:
        click.echo(f"{archive}: nothing changed")
        return
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".deb-") as scratch:
        stamp.unlink(missing_ok=True)
        built = package.build(ours, wheelhouse, version, epoch, Path(scratch))
        shutil.move(built, archive)
        stamp.write_text(wanted, "utf-8")
    click.echo(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB")


def source_date() -> int:
    """$SOURCE_DATE_EPOCH, else the time of the last commit (reproducible-builds.org)."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    said = subprocess.run(  # noqa: S603  (our own words, no shell)
        ["/usr/bin/git", "-C", str(ROOT), "log", "-1", "--format=%ct"],
        capture_output=True,
        text=True,
        check=False,
    )
    return int(said.stdout) if said.returncode == 0 else FIRST_DAY_OF_ZIP


def sources(wheelhouse: Path) -> str:
    """SHA-256 of all that the package is made of; the wheelhouse says of itself what it is of."""
    files = [wheelhouse / "requirements.txt"]
    files += [path for name in SOURCES for path in (ROOT / name, *sorted((ROOT / name).rglob("*")))]
    total = hashlib.sha256(units.HOME.encode())
    for path in files:
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(hashlib.sha256(bytes(path) + b"\0" + path.read_bytes()).digest())
    return total.hexdigest()


if __name__ == "__main__":
    main()
