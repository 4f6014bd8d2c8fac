"""The image: what the Containerfile makes of a bare Debian, in the lab's cache, as a root directory.

A RUN goes through /bin/sh in a systemd-nspawn without systemd. The bare Debian is debootstrap's smallest,
which is what docker.io/library/debian is made of. The image's name has a hash of the Containerfile and of all
files that it copies: `path` says where the image of this tree is, and `ensure` builds it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from functools import cache
from pathlib import Path

from tests.container.containerfile import Instruction, parse, sources
from tests.lab import base, nspawn
from tests.lab.command import Progress, run, run_long
from tests.lab.debian import proxy_environment
from tests.lab.plan import REPOSITORY, Paths

CONTAINERFILE = REPOSITORY / "ansible/container/Containerfile"
# Of the network that this machine is in, as podman passes a proxy on. The second is a file.
OF_THE_NETWORK = ("PIP_INDEX_URL", "PIP_CERT")
CERTIFICATES = "/tmp/certificates.pem"  # noqa: S108  in the container, for one command


@cache
def instructions() -> tuple[Instruction, ...]:
    """Those of the Containerfile."""
    return tuple(parse(CONTAINERFILE.read_text("utf-8")))


def arguments(name: str) -> tuple[str, ...]:
    """Of the one instruction with this name."""
    (one,) = (each for each in instructions() if each.name == name)
    return one.words


def path(paths: Paths) -> Path:
    """Where the image of this tree is, or will be. Raises `ValueError` where a file to copy is missing."""
    digest = hashlib.sha256(CONTAINERFILE.read_bytes())
    for one in instructions():
        if one.name in ("ADD", "COPY"):
            for file in sources(one, REPOSITORY):
                digest.update(file.read_bytes())
    return paths.cache / f"image-{digest.hexdigest()[:12]}"


def ensure(paths: Paths, progress: Progress) -> Path:
    """The image, built now if it isn't there. Takes minutes then, and the network."""
    image = path(paths)
    paths.cache.mkdir(parents=True, exist_ok=True)
    with (paths.cache / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.is_dir():
            log = paths.cache / "image.log"
            log.unlink(missing_ok=True)
            building = paths.cache / "building-image"
            nspawn.forget(building.name, building)
            base.remove(building)
            run("cp", "--archive", "--reflink=auto", base.ensure_bare(paths, progress), building)
            for number, one in enumerate(instructions(), 1):
                progress(f"{number} of {len(instructions())}: {one.name} {' '.join(one.words)[:80]}")
                execute(one, building, paths, progress, log)
            nspawn.forget(building.name, building)
            # Of this machine, for the time of the build.
            (building / "etc/resolv.conf").unlink(missing_ok=True)
            building.rename(image)
            base.forget_others(paths, image)
    return image


def execute(one: Instruction, root: Path, paths: Paths, progress: Progress, log: Path) -> None:
    """One instruction, on the root directory of the image."""
    if one.name == "RUN":
        # Packages of its own: apt locks the directory, and the base may be built meanwhile.
        archives = paths.cache / "archives-image"
        archives.mkdir(exist_ok=True)
        command = base.contained(root, archives, proxy_environment())
        for name in OF_THE_NETWORK:
            if value := os.environ.get(name):
                inside = CERTIFICATES if Path(value).is_file() else value
                command.append(f"--setenv={name}={inside}")
                command += [f"--bind-ro={value}:{inside}"] if inside == CERTIFICATES else []
        run_long([*command, "/bin/sh", "-c", *one.words], log, progress)
    elif one.name in ("ADD", "COPY"):
        target = root / one.words[-1].lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        for file in sources(one, REPOSITORY):
            if one.name == "ADD":
                run("tar", "--extract", "--no-same-owner", f"--directory={target}", f"--file={file}")
            else:
                shutil.copyfile(file, target / file.name)
    elif one.name == "VOLUME":
        for place in one.words:
            (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
