"""The base: a Debian root directory with every package a host needs, made once and cached.

Each release of Debian that a host has needs one: `base-KEY` is of Debian 12, `base13-KEY` of Debian 13. The
key is a hash of what went into it, so a change makes another. It is built under another name and renamed when
it is complete: an interrupted build leaves no half base. Package files are kept across builds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.lab import nspawn
from tests.lab.command import SEALED, Progress, run_long
from tests.lab.debian import Repository, proxy_environment, renamed, repositories
from tests.lab.errors import LabError
from tests.lab.plan import RELEASE, SUITE, SUITES, Paths

PACKAGES = Path(__file__).with_name("packages.txt")
RECIPE = 1  # raise it when what is done with the packages changes

# Off in the base, so that a host boots in seconds and the playbook has to enable what it wants.
QUIET = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "certbot.timer",
    "coturn.service",
    "dovecot.service",
    "dovecot.socket",
    "dpkg-db-backup.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "logrotate.timer",
    "nftables.service",
    "nginx.service",
    "nsd.service",
    "opendkim.service",
    "postfix-mta-sts-resolver.service",
    "postfix.service",
    "systemd-networkd.service",
    "unbound.service",
]


def package_list(text: str) -> list[str]:
    """The packages of a list with `#` comments, sorted."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return sorted({line for line in lines if line})


def key(packages: Sequence[str], release: str = RELEASE) -> str:
    """Twelve hex digits that change with the packages and with how the base is made."""
    ingredients = [SUITES[release], f"recipe {RECIPE}", *packages, "off:", *QUIET]
    return hashlib.sha256("\n".join(ingredients).encode()).hexdigest()[:12]


def listed(*more: Path) -> list[str]:
    """The packages of this tree's list, and of the lists in other files."""
    return package_list("\n".join(file.read_text(encoding="utf-8") for file in (PACKAGES, *more)))


def path(paths: Paths, packages: Sequence[str] = (), release: str = RELEASE) -> Path:
    """Where the base is, or will be. `packages`: others than those of this tree's list."""
    if release not in SUITES:
        raise LabError(f"set LAB_A and LAB_B to one of {', '.join(SUITES)}: there is no Debian {release}")
    tag = "" if release == RELEASE else release
    return paths.cache / f"base{tag}-{key(packages or listed(), release)}"


def ensure(paths: Paths, progress: Progress, packages: Sequence[str] = (), release: str = RELEASE) -> Path:
    """The base, built now if it isn't there. Takes minutes then."""
    base = path(paths, packages, release)
    if base.is_dir():
        return base
    paths.cache.mkdir(parents=True, exist_ok=True)
    with (paths.cache / "base.lock").open("w") as lock:
        # Labs in other network namespaces share the cache.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not base.is_dir():
            build(base, paths, progress, packages or listed(), release)
    return base


def build(base: Path, paths: Paths, progress: Progress, packages: Sequence[str], release: str) -> None:
    """Make it, whatever is there."""
    tag = "" if release == RELEASE else release
    log = paths.cache / f"build{tag}.log"
    building = paths.cache / f"building{tag}"
    archives, environment = paths.cache / f"archives{tag}", build_environment()
    log.unlink(missing_ok=True)
    nspawn.forget(building.name, building)
    remove(building)
    debootstrap(building, archives, progress, log, SUITES[release])
    progress(f"apt: {len(packages)} packages and what they need (one or two minutes)")
    for words in (
        ["apt-get", "update", "-q"],
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages],
        ["systemctl", "disable", *QUIET],
    ):
        run_long([*contained(building, archives, environment), *words], log, progress)
    unprepare(building)
    nspawn.forget(building.name, building)
    building.rename(base)
    progress(f"the base is complete: {base}")
    forget_others(paths, base)


def ensure_bare(paths: Paths, progress: Progress) -> Path:
    """A Debian with no packages but its own, built now if it isn't there."""
    bare = paths.cache / f"bare-{SUITE}"
    if not bare.is_dir():
        building = paths.cache / "building-bare"
        remove(building)
        debootstrap(building, paths.cache / "archives", progress, paths.cache / "bare.log")
        building.rename(bare)
    return bare


def build_environment() -> dict[str, str]:
    """Asks nothing and speaks English."""
    return {**os.environ, **proxy_environment(), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def debootstrap(root: Path, archives: Path, progress: Progress, log: Path, suite: str = SUITE) -> None:
    """Make the smallest Debian in `root`, and tell its apt of this machine's repositories."""
    archives.mkdir(parents=True, exist_ok=True)
    sources = renamed(repositories(SUITE, progress, log), SUITE, suite)
    mirror = next(source for source in sources if source.suite == suite)
    progress(f"debootstrap: Debian {suite} from nothing (about a minute)")
    run_long(
        [*SEALED, "debootstrap", "--variant=minbase", "--include=ca-certificates", f"--cache-dir={archives}",
         suite, str(root), mirror.uri],
        log, progress, build_environment(),
    )  # fmt: skip
    prepare_apt(root, sources)


def contained(root: Path, archives: Path, environment: dict[str, str]) -> list[str]:
    """The words that run a command inside `root`; what it mounts goes when it ends, however it ends."""
    passed = ("http_proxy", "DEBIAN_FRONTEND", "LC_ALL")
    return [
        *SEALED, "systemd-nspawn", "--quiet", f"--directory={root}", "--register=no", "--keep-unit",
        "--as-pid2", "--pipe", "--resolv-conf=copy-host", f"--bind={archives}:/var/cache/apt/archives",
        *(f"--setenv={name}={environment[name]}" for name in passed if name in environment),
    ]  # fmt: skip


def prepare_apt(root: Path, sources: Sequence[Repository]) -> None:
    lines = [f"deb {source.uri} {source.suite} {source.component}\n" for source in sources]
    (root / "etc/apt/sources.list").write_text("".join(lines), encoding="utf-8")
    # The base is thrown away when its building is interrupted, so dpkg need not fsync.
    (root / "etc/dpkg/dpkg.cfg.d/lab-unsafe-io").write_text("force-unsafe-io\n", encoding="utf-8")
    # Nothing starts while packages are installed: 101 means forbidden, see invoke-rc.d(8).
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    policy.chmod(0o755)


def unprepare(root: Path) -> None:
    """Take out what was for the building only, and what each host must have of its own."""
    for name in ("etc/dpkg/dpkg.cfg.d/lab-unsafe-io", "usr/sbin/policy-rc.d", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("", encoding="utf-8")
    for file in (root / "etc/ssh").glob("ssh_host_*"):
        file.unlink()


def forget_others(paths: Paths, base: Path) -> None:
    """Remove the bases made from other lists, unless a lab stands on one; so too for images."""
    mounted = everybodys_mounts()
    for other in paths.cache.glob(base.name.partition("-")[0] + "-*"):
        if other != base and str(other) not in mounted:
            remove(other)


def everybodys_mounts() -> str:
    """What each process has mounted: a lab may be in a mount namespace of its own."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):  # The process has ended.
            found.add(file.read_text(encoding="utf-8"))
    return "\n".join(found)


def remove(tree: Path) -> None:
    """Remove a root directory, but never what somebody has mounted in it."""
    if f" {tree}/" in Path("/proc/self/mountinfo").read_text(encoding="utf-8"):
        raise LabError(f"unmount what is mounted below {tree}: it is to be removed")
    if tree.exists():
        shutil.rmtree(tree)
