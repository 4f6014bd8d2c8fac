"""The fuzzer's properties hold for its seeds, and fail for input that breaks them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus import ENCRYPTED, NONE, Sample, committed, rule
from tests.fuzz import promises
from tests.fuzz.__main__ import main


@pytest.mark.parametrize("sample", [each for each in committed() if len(each.octets) < 8000], ids=str)
def test_they_hold_of_every_seed(sample: Sample) -> None:
    promises.check(sample.octets)


def test_another_opinion_breaks_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = next(each for each in committed() if each.outgoing == ENCRYPTED)
    monkeypatch.setattr(rule, "kind", lambda *_: NONE)
    with pytest.raises(AssertionError, match="none to"):
        promises.check(sample.octets)


def test_a_file_is_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found"
    file.write_bytes(committed()[0].octets)
    monkeypatch.setattr("sys.argv", ["fuzz", str(file)])
    assert main() == 0
    assert "every promise holds" in capsys.readouterr().out
