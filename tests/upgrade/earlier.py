"""The earlier version: its tree in the lab's cache, what it builds of itself, and its own playbook.

The hosts are this tree's lab, on a base with the packages of both versions: a host of the lab installs none.
Everything else is the earlier tree's own: its programs, its inventory and what its lab sets in that.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from tests.lab import Lab, LabError, base
from tests.lab.command import Progress, run, run_long
from tests.lab.plan import REPOSITORY, Paths

# The targets that made what a playbook installs, the newest first.
_BUILDS = ("deb", "dist")


def paths() -> Paths:
    """The lab's, with a cache apart: a base in the lab's own would take that one's place."""
    usual = Paths.from_environment()
    return replace(usual, cache=usual.cache / "upgrade")


@dataclass(frozen=True)
class Earlier:
    """`commit`: all of its digits. `tree`: where its files are, or will be."""

    commit: str
    tree: Path

    @classmethod
    def of(cls, name: str) -> Earlier:
        """By any name that git knows. Raises `LabError`."""
        said = run(
            "git", "-C", REPOSITORY, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False
        )
        if said.returncode:
            raise LabError(f"set FROM to a commit of this repository: git knows no {name}")
        commit = said.stdout.strip()
        return cls(commit, paths().cache / commit[:12])

    @property
    def built(self) -> bool:
        return self._stamp.exists()

    @property
    def _stamp(self) -> Path:
        return self.tree / ".built"

    def lab(self) -> Lab:
        """The lab that both versions are deployed in. The tree must be there."""
        return Lab(paths(), base.listed(self.tree / "tests/lab/packages.txt"))

    def build(self, progress: Progress) -> None:
        """Export the tree and build in it, with its own Makefile. Needs the network."""
        if self.built:
            return
        log = self.tree.with_suffix(".log")
        log.unlink(missing_ok=True)
        progress(f"building {self.commit[:12]} in {self.tree} (minutes; all that it says is in {log})")
        self.tree.mkdir(parents=True, exist_ok=True)
        archive = self.tree.with_suffix(".tar")
        run("git", "-C", REPOSITORY, "archive", f"--output={archive}", self.commit)
        run("tar", "--extract", f"--directory={self.tree}", f"--file={archive}")
        archive.unlink()
        makefile = (self.tree / "Makefile").read_text(encoding="utf-8")
        target = next(one for one in _BUILDS if f"\n{one}:" in makefile)
        run_long(["make", "-C", str(self.tree), target], log, progress, _without_make())
        self._stamp.touch()

    def deploy(self, progress: Progress) -> None:
        """Run its playbook on the hosts that are up, and publish their records. Raises `LabError`."""
        environment = {**_without_make(), "CHATMAIL_LAB_CACHE": str(paths().cache), "PYTHONUNBUFFERED": "1"}
        words = [str(self.tree / ".venv/bin/python"), "-m", "tests.lab", "deploy"]
        with subprocess.Popen(
            words, cwd=self.tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as deploying:
            assert deploying.stdout is not None
            for line in deploying.stdout:
                progress(f"{self.commit[:12]}: {line.rstrip()}")
        if deploying.returncode:
            raise LabError(
                f"read above: the playbook of {self.commit[:12]} ended with {deploying.returncode}"
            )


def _without_make() -> dict[str, str]:
    """The environment without what `make` of this tree sets: its flags, and FROM."""
    ours = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "FROM"}
    return {name: value for name, value in os.environ.items() if name not in ours}
