#!/usr/bin/env python3
"""Builds `dist/wheelhouse`: our wheel and every dependency that `requirements/relay.txt` lists.

pip refuses a file with another hash. It builds with this environment's setuptools and wheel, which must
be those of `requirements/build.txt`. The Debian package (`deb/`) is built from the wheelhouse alone, without
PyPI. The wheels are for the Python that runs this script, which must be the hosts' (3.11 on Debian
12). Its `requirements.txt` lists each wheel with its hash, which pip checks. Unchanged parts are not
built again: dependencies while the lists are the same, our wheel while its sources are.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("chatmail_milter", "mxdeliv_app")
# What the wheel is made from, besides the packages; LICENSE and README.md go into its metadata.
PROJECT_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
DISTRIBUTION = "chatmail_milter"
# `make requirements` writes them.
RELAY_LIST = ROOT / "requirements/relay.txt"
BUILD_LIST = ROOT / "requirements/build.txt"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# The zip format begins in 1980. A fixed time makes the same sources give the same wheel, octet by octet.
FIRST_DAY_OF_ZIP = "315532800"


def main() -> int:
    """Updates the wheelhouse. Returns 0, or 1 after one line that says what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--directory", type=Path, default=ROOT / "dist" / "wheelhouse")
    parser.add_argument("--check", action="store_true", help="build nothing; is it of this tree?")
    arguments = parser.parse_args()
    wheelhouse: Path = arguments.directory.absolute()
    if arguments.check:
        return check(wheelhouse)
    wheelhouse.parent.mkdir(parents=True, exist_ok=True)
    with (wheelhouse.parent / ".wheelhouse.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return update(wheelhouse)


def update(wheelhouse: Path) -> int:
    """Builds what changed. The old wheelhouse remains until the new one is complete."""
    sources = source_files()
    wanted, found = wanted_keys(), keys_of(wheelhouse)
    if found == wanted:
        print(f"{wheelhouse}: nothing changed")
        return 0
    if wrong := wrong_build_tools():
        print(f"can't build: {wrong} must be installed here. Run: make dist", file=sys.stderr)
        return 1
    keep = all(found.get(key) == wanted[key] for key in ("python", "dependencies"))
    if not keep and (lacking := missing_tools()):
        print(f"can't build pymilter: {lacking} missing.", file=sys.stderr)
        print("Run: apt-get install gcc libmilter-dev python3-dev", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(dir=wheelhouse.parent, prefix=".wheelhouse-") as scratch:
        staging = Path(scratch) / "wheelhouse"
        staging.mkdir(mode=0o755)
        if keep:
            for wheel in dependency_wheels(wheelhouse):
                shutil.copy2(wheel, staging)
        else:
            print("building the dependencies (a minute, without pip's cache)", flush=True)
            pip_wheel(staging, "--require-hashes", "--requirement", str(RELAY_LIST))
        print(f"building {DISTRIBUTION}", flush=True)
        build_ours(staging, sources, Path(scratch))
        write_requirements(staging, wanted)
        put_in_place(staging, wheelhouse, Path(scratch))
    print(f"{wheelhouse}: {len(list(wheelhouse.glob('*.whl')))} wheels for Python {PYTHON}")
    return 0


def check(wheelhouse: Path) -> int:
    """Returns 0 if the wheelhouse is up to date, else 1 after one line that says what to do."""
    if keys_of(wheelhouse) == wanted_keys():
        return 0
    made = "of another state of this tree" if wheelhouse.exists() else "missing"
    print(f"{wheelhouse} is {made}: run `make dist`", file=sys.stderr)
    return 1


def wanted_keys() -> dict[str, str]:
    """The keys in the requirements of a wheelhouse of this tree and this Python."""
    lists = [path.read_bytes() for path in (RELAY_LIST, BUILD_LIST)]
    sources = [part for path in source_files() for part in (bytes(path), (ROOT / path).read_bytes())]
    return {
        "python": PYTHON,
        "dependencies": digest([PYTHON.encode(), *lists]),
        "sources": digest(sources),
    }


def source_files() -> list[Path]:
    """Every file that our wheel is made from, relative to the repository, sorted."""
    files = [Path(name) for name in PROJECT_FILES if (ROOT / name).exists()]
    for package in PACKAGES:
        files += [path.relative_to(ROOT) for path in (ROOT / package).rglob("*") if path.is_file()]
    return sorted(path for path in files if "__pycache__" not in path.parts)


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 over parts, with unambiguous boundaries."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


def keys_of(wheelhouse: Path) -> dict[str, str]:
    """The `# key: value` lines of its requirements; empty where there is none."""
    requirements = wheelhouse / "requirements.txt"
    if not requirements.exists():
        return {}
    lines = requirements.read_text("utf-8").splitlines()
    return dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)


def dependency_wheels(wheelhouse: Path) -> list[Path]:
    return [wheel for wheel in wheelhouse.glob("*.whl") if not wheel.name.startswith(f"{DISTRIBUTION}-")]


def missing_tools() -> str:
    """Missing build dependencies of pymilter, the one dependency without wheels on PyPI."""
    headers = {
        "Python.h (python3-dev)": Path(sysconfig.get_path("include")) / "Python.h",
        "libmilter/mfapi.h (libmilter-dev)": Path("/usr/include/libmilter/mfapi.h"),
    }
    lacking = [name for name, path in headers.items() if not path.exists()]
    return ", ".join([*lacking, *(["gcc"] if shutil.which("gcc") is None else [])])


def wrong_build_tools() -> str:
    """The pins of `BUILD_LIST` that this environment does not have, as `name==version, …`."""
    pins = PIN.findall(BUILD_LIST.read_text("utf-8"))
    installed = {each.name.lower(): each.version for each in importlib.metadata.distributions()}
    return ", ".join(f"{name}=={version}" for name, version in pins if installed.get(name) != version)


def pip_wheel(directory: Path, *arguments: str) -> None:
    """`pip wheel` into `directory`. Raises `CalledProcessError`, after pip has said why.

    Build isolation would fetch build dependencies without hashes.
    """
    subprocess.run(  # noqa: S603  (our own words, no shell)
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
         "--no-build-isolation", "--wheel-dir", str(directory), *arguments],
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": FIRST_DAY_OF_ZIP},
    )  # fmt: skip


def build_ours(staging: Path, sources: list[Path], scratch: Path) -> None:
    """Our wheel, from a copy: setuptools takes modules deleted long ago from a `build/` left in the tree."""
    tree = scratch / "tree"
    for path in sources:
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
        target.chmod(0o644)
    pip_wheel(staging, "--no-index", "--no-deps", str(tree))


def write_requirements(staging: Path, keys: dict[str, str]) -> None:
    """What pip installs, with hashes."""
    lines = [f"# {key}: {value}" for key, value in keys.items()]
    for wheel in sorted(staging.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    (staging / "requirements.txt").write_text("\n".join(lines) + "\n", "utf-8")


def put_in_place(staging: Path, wheelhouse: Path, scratch: Path) -> None:
    """Replaces the old one, which is removed first: after an interruption it is built again."""
    if wheelhouse.exists():
        wheelhouse.rename(scratch / "old")
    staging.rename(wheelhouse)


if __name__ == "__main__":
    sys.exit(main())
