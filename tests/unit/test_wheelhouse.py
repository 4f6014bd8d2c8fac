"""The wheelhouse's builder: when it builds anew, and what it says when it can't."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.lab.deployment import must_be_of_this_tree
from tests.lab.errors import LabError

SCRIPT = Path(__file__).resolve().parents[2] / "ansible/build_wheelhouse.py"


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    """The script, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("build_wheelhouse", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_requirement_is_pinned(builder: ModuleType) -> None:
    pins = {
        line.partition("==")[0]
        for line in (builder.ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    }
    wanted = {requirement.partition(">=")[0].strip() for requirement in builder.install_requires()}
    assert wanted - pins == set()


def test_the_sources_are_the_packages_and_what_describes_them(builder: ModuleType) -> None:
    names = {str(path) for path in builder.source_files()}
    assert {"setup.cfg", "chatmail_milter/config.py", "mxdeliv_app/wire.py"} <= names
    assert not any("__pycache__" in name or name.startswith("tests/") for name in names)


def test_a_digest_tells_where_one_part_ends(builder: ModuleType) -> None:
    assert builder.digest([b"ab", b"c"]) != builder.digest([b"a", b"bc"])


def test_an_incomplete_wheelhouse_has_no_keys(builder: ModuleType, tmp_path: Path) -> None:
    wheelhouse = tmp_path / "wheelhouse"
    wheelhouse.mkdir()
    assert builder.keys_of(wheelhouse) == {}
    builder.write_requirements(wheelhouse, {"python": "3.11", "sources": "x"})
    assert builder.keys_of(wheelhouse) == {}  # the archive is still missing
    builder.put_in_place(wheelhouse, tmp_path / "placed", tmp_path)
    assert builder.keys_of(tmp_path / "placed") == {"python": "3.11", "sources": "x"}


class TestCheck:
    def made(self, builder: ModuleType, tmp_path: Path, keys: dict[str, str]) -> Path:
        staging, wheelhouse = tmp_path / "staging", tmp_path / "wheelhouse"
        staging.mkdir()
        builder.write_requirements(staging, keys)
        builder.put_in_place(staging, wheelhouse, tmp_path)
        return wheelhouse

    def test_a_wheelhouse_of_this_tree_may_be_deployed(self, builder: ModuleType, tmp_path: Path) -> None:
        wheelhouse = self.made(builder, tmp_path, builder.wanted_keys())
        must_be_of_this_tree("--directory", str(wheelhouse))

    @pytest.mark.parametrize("key", ["python", "dependencies", "sources"])
    def test_one_of_another_is_not(self, builder: ModuleType, tmp_path: Path, key: str) -> None:
        wheelhouse = self.made(builder, tmp_path, builder.wanted_keys() | {key: "other"})
        with pytest.raises(LabError, match="another state of this tree: run `make dist`"):
            must_be_of_this_tree("--directory", str(wheelhouse))

    def test_nor_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(LabError, match="missing: run `make dist`"):
            must_be_of_this_tree("--directory", str(tmp_path / "wheelhouse"))


def test_requirements_name_each_wheel_with_its_hash(builder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "one_thing-1.2-py3-none-any.whl").write_bytes(b"wheel")
    builder.write_requirements(tmp_path, {})
    assert (tmp_path / "requirements.txt").read_text("utf-8") == (
        "one_thing==1.2 --hash=sha256:ba59926159d2aa256eb8739b8da7e2b574b960e1202c6d624cbe981cef996c91\n"
    )
