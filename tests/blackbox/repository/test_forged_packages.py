"""pip refuses a package file whose hash is not in a list, on each path that installs or builds.

Every test runs the project's own command with a directory of forged files in place of a registry: names and
versions are those of the list. A forged source archive shows that its code does not run either.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from deb import programs
from tests.lab.plan import REPOSITORY

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
REFUSAL = "THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE"
LISTS = ["build", "dev", "fuzz", "lists", "oldest-core"]


def forged_wheel(directory: Path, name: str, version: str) -> None:
    name = name.replace("-", "_")
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{name}-{version}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        )
        wheel.writestr(f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{name}-{version}.dist-info/RECORD", "")


def forged_source(directory: Path, name: str, version: str, trace: Path) -> None:
    """A source archive whose `setup_message.py` leaves a trace when it runs."""
    code = (
        f"open({str(trace)!r}, 'a').write('ran')\n"
        f"from setuptools import setup\nsetup(name={name!r}, version={version!r})\n"
    )
    with tarfile.open(directory / f"{name}-{version}.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(f"{name}-{version}/setup.py")
        member.size = len(code)
        archive.addfile(member, io.BytesIO(code.encode()))


def with_registry(directory: Path, **more: str) -> Mapping[str, str]:
    """An environment in which pip knows no other place than `directory`, and no cache."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE"))}
    return ours | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(directory), "PIP_NO_CACHE_DIR": "1", **more}


def run(words: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def environment_of_its_own(directory: Path) -> Path:
    """The `python` of a new, empty environment: nothing that a test asks for is installed there."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    return directory / "bin/python"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    directory = tmp_path / "registry"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment_of_its_own(tmp_path_factory.mktemp("empty") / "venv")


def install_command(name: str) -> list[str]:
    """What the Makefile runs for a list."""
    targets = [".venv/ready", "dist/oldest-core/ready", "fuzz", "requirements"]
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *targets],
        cwd=REPOSITORY, env=with_registry(Path("/nonexistent")), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {line for line in done.stdout.splitlines() if f"-r requirements/{name}.txt" in line}
    (line,) = found
    return line.split()


@pytest.mark.parametrize("name", LISTS)
def test_a_forged_wheel_is_not_installed(name: str, registry: Path, empty: Path) -> None:
    pins = PIN.findall((REPOSITORY / f"requirements/{name}.txt").read_text("utf-8"))
    for pin in pins:
        forged_wheel(registry, *pin)
    pip, *words = install_command(name)
    assert pip == ".venv/bin/pip"
    done = run([str(empty), "-m", "pip", *words], with_registry(registry))
    assert done.returncode == 1
    assert REFUSAL in done.stderr


def test_code_of_a_forged_source_archive_does_not_run(registry: Path, empty: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for name, version in PIN.findall((REPOSITORY / "requirements/dev.txt").read_text("utf-8")):
        forged_source(registry, name, version, trace)
    _, *words = install_command("dev")
    done = run([str(empty), "-m", "pip", *words], with_registry(registry))
    assert REFUSAL in done.stderr
    assert not trace.exists()


def test_the_wheelhouse_takes_no_forged_wheel(registry: Path, tmp_path: Path) -> None:
    for pin in PIN.findall((REPOSITORY / "requirements/relay.txt").read_text("utf-8")):
        forged_wheel(registry, *pin)
    wheelhouse = tmp_path / "wheelhouse"
    builder = str(REPOSITORY / "ansible/build_wheelhouse.py")
    done = run([sys.executable, builder, "--directory", str(wheelhouse)], with_registry(registry))
    assert done.returncode == 1
    assert REFUSAL in done.stderr
    assert not wheelhouse.exists()


def test_a_build_fetches_nothing(registry: Path, tmp_path: Path) -> None:
    """pip would fetch what `build-system.requires` names, without asking for a hash, and run it."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools", "evil"]\n', "utf-8")
    (tree / "setup.py").write_text('from setuptools import setup\nsetup(name="x", version="1")\n', "utf-8")
    forged_source(registry, "evil", "1", tmp_path / "trace")
    _, *words = install_command("dev")
    assert words[-2:] == ["-r", "requirements/dev.txt"]
    words = [word for word in words[1:-2] if word != "--require-hashes"]
    wheels = str(tmp_path / "wheels")
    done = run(
        [sys.executable, "-m", "pip", "wheel", "--wheel-dir", wheels, *words, str(tree)],
        with_registry(registry),
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "trace").exists()


def test_the_debian_package_takes_no_other_wheel_than_the_wheelhouse_lists(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wheels = shutil.copytree(REPOSITORY / "dist/wheelhouse", tmp_path / "wheels")
    (idna,) = wheels.glob("idna-*.whl")
    forged_wheel(wheels, "idna", idna.name.split("-")[1])
    with pytest.raises(subprocess.CalledProcessError):
        programs.install(tmp_path / "root", wheels, set())
    assert REFUSAL in capfd.readouterr().err
