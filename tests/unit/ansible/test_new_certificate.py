"""Servers read a new certificate only when it and its key belong together."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import jinja2
import pytest

from tests.lab import ca
from tests.lab.plan import REPOSITORY

FOLDERS = [REPOSITORY / "ansible/roles/tls/templates", REPOSITORY / "ansible/templates"]
UNITS = jinja2.Environment(  # noqa: S701
    loader=jinja2.FileSystemLoader(FOLDERS), undefined=jinja2.StrictUndefined
)


def is_read(certificate: Path, key: Path) -> bool:
    text = UNITS.get_template("chatmail-certificate.service.j2").render(
        ansible_managed="MARK", chatmail_tls_certificate=certificate, chatmail_tls_key=key
    )
    (condition,) = [line for line in text.splitlines() if line.startswith("ExecCondition=")]
    words = shlex.split(condition.partition("=")[2])
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs, and what is neither a certificate nor a key."""
    place = tmp_path_factory.mktemp("certificates")
    for name in ("one", "other"):
        ca.self_signed(place, name)
    (place / "nonsense").write_text("nonsense")
    return place


def test_a_pair(place: Path) -> None:
    assert is_read(place / "one.self-signed.crt", place / "one.self-signed.key")


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        ("one.self-signed.crt", "other.self-signed.key"),
        ("one.self-signed.crt", "nonsense"),
        ("nonsense", "one.self-signed.key"),
        ("nonsense", "nonsense"),
        ("away", "away"),
    ],
)
def test_no_pair(place: Path, certificate: str, key: str) -> None:
    assert not is_read(place / certificate, place / key)
