"""The lists in requirements/ are complete, with hashes, and each call of pip checks the hashes.

`tests/blackbox/repository/test_forged_packages.py` checks with forged files that pip then refuses them.
"""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
LISTS = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "requirements").glob("*.txt"))}
# One release with its hashes; a marker says for which Pythons or systems.
RELEASE = re.compile(r"([a-z0-9][a-z0-9-]*)==([0-9][0-9a-z.]*)( ; .+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
# Which list serves which dependency group of pyproject.toml.
LIST_OF_GROUP = {
    "build": "build", "test": "dev", "lab": "dev", "ansible": "ansible", "fuzz": "fuzz", "lists": "lists",
    "oldest-core": "oldest-core",
}  # fmt: skip

# `pip install` and its like in a shell, a Makefile or a document, with options before the command.
PIP = re.compile(r"\bpip3?[\"'})]*(?:\s+-\S+)*\s+(?:install|wheel|download)\b.*")
# In a list of words. The wheelhouse's calls are tested in test_wheelhouse.py.
PIP_WORD = re.compile(r"[\"']pip3?[\"']")
MAY_SAY_PIP = {
    "ansible/build_wheelhouse.py",
    "deb/programs.py",  # tested in test_forged_packages.py
    "tests/blackbox/repository/test_forged_packages.py",  # calls it as the Makefile does
    "tests/unit/repository/test_requirements.py",
    "tests/unit/ansible/test_wheelhouse.py",
}


def releases(text: str) -> dict[str, str]:
    """Name to version. Raises `ValueError` at a line that is neither a release with hashes nor a comment."""
    found = {}
    hashes_expected = False
    for line in text.splitlines():
        if line.lstrip().startswith("#") and not hashes_expected:
            continue
        if hashes_expected:
            if not HASH.fullmatch(line):
                raise ValueError(line)
        elif release := RELEASE.fullmatch(line):
            found[release[1]] = release[2]
        else:
            raise ValueError(line)
        hashes_expected = line.endswith("\\")
    if hashes_expected:
        raise ValueError("a release without hashes at the end")
    return found


def unpinned(requirements: list[str], pins: dict[str, str]) -> list[str]:
    """The requirements that no pin satisfies."""
    wanted = [Requirement(each) for each in requirements]
    return [str(each) for each in wanted if not each.specifier.contains(pins.get(each.name.lower(), "0"))]


def unsafe_calls(text: str) -> Iterator[str]:
    """Each call of pip that could install a file with no hash in a list, or fetch what a build asks for."""
    for call in PIP.findall(text.replace("\\\n", " ")):
        words = set(call.split())
        offline = {"--no-index", "--no-deps"} <= words
        if not (offline or {"--require-hashes", "--no-build-isolation"} <= words):
            yield call


def project_files() -> Iterator[Path]:
    """The files that could call pip, besides the samples of messages."""
    yield from (
        path for path in (ROOT / "Makefile", ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / ".ci/run")
    )
    for directory in ("ansible", "deb", "docs", "tests"):
        for path in (ROOT / directory).rglob("*"):
            if path.suffix in {".py", ".yml", ".j2", ".md", ".sh", ".txt"} or path.name == "Containerfile":
                yield path


@pytest.mark.parametrize("name", LISTS)
def test_a_list_holds_exact_versions_with_hashes_and_no_options(name: str) -> None:
    assert releases(LISTS[name])


@pytest.mark.parametrize(
    "text",
    [
        "x==1\n",
        "x==1 \\\n    # via y\n",
        "x>=1 \\\n    --hash=sha256:" + 64 * "0",
        "x==1 \\\n    --hash=md5:" + 32 * "0",
        "x==1 \\\n",
        "--find-links /wheels",
        "-r other.txt",
        "git+https://host.example/x@main",
    ],
)
def test_a_list_is_searched_for_what_has_no_hash(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        releases(text)


def test_the_dependencies_of_a_relay_are_pinned() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    wanted = config["options"]["install_requires"].split("\n")[1:]
    assert len(wanted) > 10
    for name in ("relay", "dev"):
        assert unpinned(wanted, releases(LISTS[name])) == []
    assert "options.extras_require" not in config, "pin extras, or make them dependency groups"


def test_the_dependency_groups_are_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    assert set(groups) == set(LIST_OF_GROUP)
    for group, wanted in groups.items():
        named = [each for each in wanted if isinstance(each, str)]  # the others include a group
        assert unpinned(named, releases(LISTS[LIST_OF_GROUP[group]])) == []
    assert unpinned(project["build-system"]["requires"], releases(LISTS["build"])) == []


def test_a_missing_or_too_old_pin_is_found() -> None:
    assert unpinned(["a>=2", "B", "c>=1"], {"a": "1.9", "b": "1"}) == ["a>=2", "c>=1"]


def test_lists_agree_on_versions() -> None:
    versions: dict[str, set[str]] = {}
    # One is for another version on purpose, in a directory of its own.
    for text in (LISTS[name] for name in LISTS if name != "oldest-core"):
        for name, version in releases(text).items():
            versions.setdefault(name, set()).add(version)
    assert {name: each for name, each in versions.items() if len(each) > 1} == {}


def test_no_call_of_pip_goes_without_hashes() -> None:
    files = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in project_files()}
    files = {name: text for name, text in files.items() if name not in MAY_SAY_PIP}
    assert {name: calls for name, text in files.items() if (calls := list(unsafe_calls(text)))} == {}
    assert [name for name, text in files.items() if PIP_WORD.search(text)] == []
    assert PIP.search(files["Makefile"])


@pytest.mark.parametrize(
    ("call", "safe"),
    [
        ("\t$(BIN)/pip install -q --require-hashes --no-build-isolation -r x.txt", True),
        ('"$pip" install --no-index \\\n   --no-deps --find-links=x', True),
        ("pip install -q --require-hashes -r x.txt", False),  # a build would fetch setuptools
        ("pip install -c constraints.txt -e .", False),
        ("python3 -m pip wheel --no-deps .", False),
        ("python3 -m pip --quiet download x", False),
        ("uv pip install x", False),
        ("{{ venv }}/bin/pip3 install x", False),
        ("pip checks them; python3 -m venv x", True),
    ],
)
def test_a_call_without_hashes_is_found(call: str, safe: bool) -> None:
    assert (list(unsafe_calls(call)) == []) is safe
