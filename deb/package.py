"""Builds the package: its tree, its control data, and the archive, by `dpkg-deb`."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from email.utils import format_datetime
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import NamedTuple

from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from chatmail_milter.config import example
from chatmail_milter.ctl.main import main as chatmailctl
from deb import manual, programs, release, units

NAME = "chatmail-milter"
HERE = Path(__file__).parent
DOCUMENTS = f"usr/share/doc/{NAME}"
# Who builds it for others says so in Debian's variables; see debchange(1).
MAINTAINER = "{} <{}>".format(
    os.environ.get("DEBFULLNAME", "The chatmail-milter authors"),
    os.environ.get("DEBEMAIL", "chatmail@example.org"),
)
# The wheelhouse is for the Python that it was made with.
PYTHON, NEXT_PYTHON = (f"3.{minor}" for minor in (sys.version_info.minor, sys.version_info.minor + 1))
# Besides what the playbook installs for our programs. systemd: units, sysusers, tmpfiles.
DEPENDS = (
    "init-system-helpers (>= 1.54)",
    f"libc6 (>= {release.LIBC})",
    "passwd",
    f"python3 (>= {PYTHON})",
    f"python3 (<< {NEXT_PYTHON})",
    "systemd (>= 252)",
)
# For operators, by their names in a shell.
COMMANDS = ("chatmailctl", "chatmail-expire")
CONTROL = """\
Package: {name}
Version: {version}
Section: mail
Priority: optional
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: {depends}
Chatmail-Sources: {sources}
Recommends: dovecot-auth-lua, dovecot-imapd, dovecot-lmtpd, nginx-light | nginx, opendkim, unbound
Suggests: coturn
Description: chatmail relay made of Postfix and Dovecot
 A PGP-only milter for Postfix, mail between relays by HTTPS with SMTP behind
 it, accounts for Dovecot that are made at their first login, notices to phones,
 and chatmailctl, the operator's command. Nothing is started before it is
 configured.
 .
 The programs' Python libraries come along, in a private virtual environment.
"""
COMPLETIONS: dict[str, type[ShellComplete]] = {
    "usr/share/bash-completion/completions/chatmailctl": BashComplete,
    "usr/share/fish/vendor_completions.d/chatmailctl.fish": FishComplete,
    "usr/share/zsh/vendor-completions/_chatmailctl": ZshComplete,
}


class Edition(NamedTuple):
    """The identity of a package.

    `architecture`: dpkg's name. `epoch`: POSIX time of all files in it. `sources`: digest of its sources, by
    which the playbook recognises the package on a host.
    """

    version: str
    architecture: str
    epoch: int
    sources: str

    @property
    def file(self) -> str:
        """The archive's name."""
        return f"{NAME}_{self.version}_{self.architecture}.deb"


def build(edition: Edition, distribution: Distribution, wheelhouse: Path, scratch: Path) -> Path:
    """Builds the archive in `scratch`."""
    root = scratch / "root"
    root.mkdir(mode=0o755)
    scripts = list(distribution.entry_points.select(group="console_scripts"))
    programs.install(root, wheelhouse, {one.name for one in scripts})
    for path, text in texts(scripts, edition.version, edition.epoch).items():
        write(root, path, text)
    for command in COMMANDS:
        link = root / "usr/sbin" / command
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../{units.HOME.removeprefix('/usr/')}/bin/{command}")
    (root / units.HOME.strip("/") / "prepare").write_text(script("prepare"), "utf-8")
    finish(root, edition.epoch)
    control(root, edition)
    archive = scratch / edition.file
    subprocess.run(  # noqa: S603  (our own words, no shell)
        # With several threads xz writes other octets on another number of processors.
        [
            "/usr/bin/dpkg-deb",
            "--build",
            "--root-owner-group",
            "--threads-max=1",
            "-Zxz",
            "-z1",
            root,
            archive,
        ],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(edition.epoch)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return archive


def texts(scripts: list[EntryPoint], version: str, epoch: int) -> dict[str, str]:
    """Maps paths to texts of all files but the programs. `write` compresses those that end in .gz."""
    day = format_datetime(datetime.fromtimestamp(epoch, UTC))
    changes = (
        f"{NAME} ({version}) {release.CODENAME}; urgency=medium\n\n  * CHANGELOG.md.gz says what is new.\n\n"
    )
    completions = {
        path: shell(chatmailctl, {}, "chatmailctl", "_CHATMAILCTL_COMPLETE").source() + "\n"
        for path, shell in COMPLETIONS.items()
    }
    return {
        **units.files(),
        f"{units.HOME.strip('/')}/dovecot/auth.lua": units.auth_lua(),
        **{f"{path}.gz": page for path, page in manual.pages(scripts, epoch, version).items()},
        **completions,
        f"{DOCUMENTS}/changelog.gz": f"{changes} -- {MAINTAINER}  {day}\n",
        f"{DOCUMENTS}/CHANGELOG.md.gz": (HERE.parent / "CHANGELOG.md").read_text("utf-8"),
        f"{DOCUMENTS}/copyright": (HERE / "copyright").read_text("utf-8"),
        f"{DOCUMENTS}/examples/chatmail.toml": example.render(example.EXAMPLE, documented=True),
        f"usr/share/lintian/overrides/{NAME}": (HERE / "lintian-overrides").read_text("utf-8"),
    }


def write(root: Path, path: str, text: str) -> None:
    content = text.encode("utf-8")
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content, mtime=0) if path.endswith(".gz") else content)


def finish(root: Path, epoch: int) -> None:
    """Sets modes and times that do not depend on this machine."""
    home = root / units.HOME.strip("/")
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            runs = path.is_dir() or path.parent == home / "bin" or path == home / "prepare"
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def control(root: Path, edition: Edition) -> None:
    """DEBIAN/: the fields, checksums, and the scripts that run on the host."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files]  # noqa: S324
    kib = sum(-(-path.stat().st_size // 1024) for path in files)
    place = root / "DEBIAN"
    place.mkdir(mode=0o755)
    depends = ", ".join(sorted([*DEPENDS, *units.variables()["chatmail_packages"]]))
    fields = CONTROL.format(**edition._asdict(), name=NAME, maintainer=MAINTAINER, size=kib, depends=depends)
    (place / "control").write_text(fields, "utf-8")
    (place / "md5sums").write_text("".join(sums), "utf-8")
    for name in ("preinst", "postinst", "prerm", "postrm"):
        (place / name).write_text(script(name), "utf-8")
        (place / name).chmod(0o755)


def script(name: str) -> str:
    """A maintainer script. Raises `KeyError` for an unknown @WORD@."""
    known = units.variables()
    words = {
        "SERVICES": " ".join(
            known["chatmail_services"] + known["chatmail_admin_services"] + known["chatmail_webimap_services"]
        ),
        "SOCKETS": " ".join(
            known["chatmail_sockets"] + known["chatmail_admin_sockets"] + known["chatmail_webimap_sockets"]
        ),
        "UNITS": " ".join(units.names()),
        "PUSH_PORT": str(known["chatmail_push_port"]),
        "WAKE_PORT": str(known["chatmail_wake_port"]),
        "HOME": units.HOME,
    }
    text = (HERE / "scripts" / name).read_text("utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda found: words[found[1]], text)
