"""The file with the hashes of the operators' passwords."""

from __future__ import annotations

from pathlib import Path

import pytest

from mxdeliv_app.admin import passwords
from tests.unit.admin.site import ACT, HASHES


def test_a_file_of_both(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text("read-only $argon2id$a\n\nprivileged $argon2id$b\n")
    assert passwords.read(file) == {"read-only": "$argon2id$a", "privileged": "$argon2id$b"}


@pytest.mark.parametrize(
    "text",
    ["", "root $argon2id$a", "privileged secret", "privileged", "privileged $argon2id$a\n" * 2, "ü"],
)
def test_a_file_that_can_t_be_used(tmp_path: Path, text: str) -> None:
    file = tmp_path / "passwords"
    file.write_text(text)
    with pytest.raises(passwords.PasswordsError, match=r"^mend "):
        passwords.read(file)


def test_one_password_for_both_is_privileged() -> None:
    hashes = {"read-only": HASHES["privileged"], "privileged": HASHES["privileged"]}
    assert passwords.role(hashes, ACT) == "privileged"  # type: ignore[arg-type]
