"""The machine that the lab runs on: is it fit, has it the tools, and which mirror does it use.

Installs nothing but debootstrap, systemd-nspawn, ip, nft and ssh; none of them starts a service.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.lab.command import Progress, run, run_long
from tests.lab.errors import LabError

# program -> the Debian package that has it
TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "openssl": "openssl",
    "nsenter": "util-linux",
}


@dataclass(frozen=True)
class Repository:
    """One line of apt's sources: where, which suite, which component."""

    uri: str
    suite: str
    component: str


def require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("run this as root: the lab is made of network namespaces and containers")


def require_debian(os_release: str) -> None:
    """`os_release` is the text of /etc/os-release."""
    if not any(line in ("ID=debian", 'ID="debian"') for line in os_release.splitlines()):
        raise LabError("run this on Debian: the lab installs its tools with apt and copies its apt sources")


def install_tools(progress: Progress, log: Path) -> None:
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if not missing:
        return
    progress(f"installing {' '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run_long(["apt-get", "update"], log, progress, env)
        run_long(["apt-get", "install", "-y", "--no-install-recommends", *missing], log, progress, env)
    except LabError as error:
        raise LabError(f"install {' '.join(missing)} by hand, apt-get could not ({error})") from error


def parse_index_targets(text: str, suite: str) -> list[Repository]:
    """The Debian repositories of `suite`, from lines `URI SUITE ORIGIN COMPONENT`."""
    found = []
    for line in text.splitlines():
        uri, release, origin, component = line.split()
        if origin == "Debian" and release in (suite, f"{suite}-updates", f"{suite}-security"):
            found.append(Repository(uri.rstrip("/"), release, component))
    return sorted(set(found), key=lambda repository: (repository.suite, repository.component))


def repositories(suite: str, progress: Progress, log: Path) -> list[Repository]:
    """The repositories of `suite`, on the mirrors that this machine's apt uses, the plain suite first."""
    query = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(ORIGIN) $(COMPONENT)")
    wanted = (*query, "Created-By: Packages")
    found = parse_index_targets(run(*wanted).stdout, suite)
    if not found:
        # The origin of a repository is known only once its lists are here.
        progress("asking apt for its package lists")
        run_long(["apt-get", "update"], log, progress)
        found = parse_index_targets(run(*wanted).stdout, suite)
    if not any(repository.suite == suite for repository in found):
        raise LabError(f"add Debian {suite} to this machine's apt sources: the lab's hosts are made from it")
    return found


def renamed(found: Sequence[Repository], suite: str, other: str) -> list[Repository]:
    """The same of another suite: a mirror of Debian has all that are supported."""
    return [replace(one, suite=other + one.suite.removeprefix(suite)) for one in found]


def proxy_environment() -> dict[str, str]:
    """http_proxy as apt has it, for debootstrap and for apt inside the base."""
    said = run("apt-config", "shell", "PROXY", "Acquire::http::Proxy").stdout.strip()
    return {"http_proxy": said.removeprefix("PROXY=").strip("'")} if said else {}
