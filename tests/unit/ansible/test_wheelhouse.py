"""The wheelhouse's builder: when it builds again, and its error messages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "ansible/build_wheelhouse.py"


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    """The script, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("build_wheelhouse", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pip_takes_files_with_known_hashes_and_no_build_dependencies(
    builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(builder, "subprocess", SimpleNamespace(run=lambda words, **_: commands.append(words)))
    monkeypatch.setattr(builder, "missing_tools", lambda: "")
    assert builder.update(tmp_path / "wheelhouse") == 0
    dependencies, ours = commands
    assert dependencies[1:4] == ours[1:4] == ["-m", "pip", "wheel"]
    assert dependencies[-3:] == [
        "--require-hashes",
        "--requirement",
        str(builder.ROOT / "requirements/relay.txt"),
    ]
    assert {"--no-index", "--no-deps"} <= set(ours)
    assert all("--no-build-isolation" in words for words in commands)


def test_other_build_tools_than_the_listed_ones_build_nothing(
    builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "build.txt"
    listed.write_text(
        "setuptools==1.0 \\\n    --hash=sha256:00\nwheel==0.1 ; python_version < '3' \\\n", "utf-8"
    )
    monkeypatch.setattr(builder, "BUILD_LIST", listed)
    assert builder.update(tmp_path / "wheelhouse") == 1
    assert "setuptools==1.0, wheel==0.1 must be installed here. Run: make dist" in capsys.readouterr().err
    assert not (tmp_path / "wheelhouse").exists()


def test_the_sources_are_the_packages_and_what_describes_them(builder: ModuleType) -> None:
    names = {str(path) for path in builder.source_files()}
    assert {"setup.cfg", "chatmail_milter/config/schema.py", "mxdeliv_app/mxdeliv/wire.py"} <= names
    assert not any("__pycache__" in name or name.startswith("tests/") for name in names)


def test_a_digest_tells_where_one_part_ends(builder: ModuleType) -> None:
    assert builder.digest([b"ab", b"c"]) != builder.digest([b"a", b"bc"])


def test_a_missing_wheelhouse_has_no_keys(builder: ModuleType, tmp_path: Path) -> None:
    wheelhouse = tmp_path / "wheelhouse"
    wheelhouse.mkdir()
    assert builder.keys_of(wheelhouse) == {}
    builder.write_requirements(wheelhouse, {"python": "3.11", "sources": "x"})
    builder.put_in_place(wheelhouse, tmp_path / "placed", tmp_path)
    assert builder.keys_of(tmp_path / "placed") == {"python": "3.11", "sources": "x"}


class TestCheck:
    def made(self, builder: ModuleType, tmp_path: Path, keys: dict[str, str]) -> Path:
        staging, wheelhouse = tmp_path / "staging", tmp_path / "wheelhouse"
        staging.mkdir()
        builder.write_requirements(staging, keys)
        builder.put_in_place(staging, wheelhouse, tmp_path)
        return wheelhouse

    def test_a_wheelhouse_of_this_tree_may_be_packaged(self, builder: ModuleType, tmp_path: Path) -> None:
        assert builder.check(self.made(builder, tmp_path, builder.wanted_keys())) == 0

    @pytest.mark.parametrize("key", ["python", "dependencies", "sources"])
    def test_one_of_another_is_not(
        self, builder: ModuleType, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert builder.check(self.made(builder, tmp_path, builder.wanted_keys() | {key: "other"})) == 1
        assert "another state of this tree: run `make dist`" in capsys.readouterr().err

    def test_nor_is_none(
        self, builder: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert builder.check(tmp_path / "wheelhouse") == 1
        assert "missing: run `make dist`" in capsys.readouterr().err


def test_requirements_name_each_wheel_with_its_hash(builder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "one_thing-1.2-py3-none-any.whl").write_bytes(b"wheel")
    builder.write_requirements(tmp_path, {})
    assert (tmp_path / "requirements.txt").read_text("utf-8") == (
        "one_thing==1.2 --hash=sha256:ba59926159d2aa256eb8739b8da7e2b574b960e1202c6d624cbe981cef996c91\n"
    )
