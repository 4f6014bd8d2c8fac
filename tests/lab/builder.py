"""A root directory of another Debian, in which a package is built and the unit tests run; no host of the lab.

Made once, in minutes, and kept in the cache. What runs in it may install packages there.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.lab import base, nspawn
from tests.lab.command import Progress
from tests.lab.plan import REPOSITORY, Paths

SUITES = ("trixie",)
# This machine's, since a proxy between it and the registries may have a certificate of its own.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
# What the rest takes, the Makefile installs.
PACKAGES = ("git", "make")
PASSED = ("PIP_", "SOURCE_DATE_EPOCH", "SSL_CERT_FILE")


def ensure(paths: Paths, suite: str, progress: Progress) -> Path:
    """The root, built now if it isn't there."""
    made = root(paths, suite)
    if not made.is_dir():
        building = paths.cache / f"building-{suite}"
        base.remove(building)
        log = paths.cache / f"builder-{suite}.log"
        base.debootstrap(building, archives(paths, suite), progress, log, suite)
        building.rename(made)
        words = f"apt-get update -qq && apt-get install -qq -y --no-install-recommends {' '.join(PACKAGES)}"
        run(paths, suite, ["sh", "-c", words]).check_returncode()
    return made


def root(paths: Paths, suite: str) -> Path:
    """Where it is, or will be."""
    return paths.cache / f"builder-{suite}"


def archives(paths: Paths, suite: str) -> Path:
    return paths.cache / f"archives-{suite}"


def run(paths: Paths, suite: str, command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Runs a command there, in this clone, as root."""
    environment = base.build_environment()
    directory = root(paths, suite)
    words = base.contained(directory, archives(paths, suite), environment)
    ours = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
    # A worktree's history is in the clone that it belongs to.
    history = Path(_git("rev-parse", "--path-format=absolute", "--git-common-dir"))
    binds = {REPOSITORY, history, *(Path(one) for one in ours.get("PIP_FIND_LINKS", "").split())}
    options = [
        f"--bind-ro={AUTHORITIES}",
        *(f"--bind={path}" for path in sorted(binds)),
        *(f"--setenv={name}={value}" for name, value in ours.items()),
        f"--chdir={REPOSITORY}",
    ]
    done = subprocess.run([*words, *options, *command], check=False)
    nspawn.forget(directory.name, directory)
    return done


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", "-C", REPOSITORY, *words], check=True, capture_output=True, text=True
    ).stdout.strip()
