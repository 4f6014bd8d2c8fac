"""The playbook makes a self-signed certificate anew only when its names change or its end is near."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest

from tests.lab.plan import REPOSITORY

yaml = pytest.importorskip("yaml", reason="comes with ansible-core, of the extra `lab`")

ROLE = REPOSITORY / "ansible/roles/tls"
TASKS: list[dict[str, Any]] = yaml.safe_load((ROLE / "tasks/selfsigned.yml").read_text("utf-8"))
DESCRIPTION = "/etc/chatmail/tls/selfsigned.cnf"


def rendered(text: str, **variables: Any) -> str:
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text).render(**variables)  # noqa: S701


def describe(place: Path, *names: str) -> None:
    text = (ROLE / "templates/selfsigned.cnf.j2").read_text("utf-8")
    (place / "selfsigned.cnf").write_text(
        rendered(text, ansible_managed="MARK", chatmail_domain_bare="_x.test", tls_names=names)
    )


def is_made(place: Path, mode: str = "selfsigned") -> bool:
    """Run the task's shell; whether it says that it made a certificate."""
    (shell,) = [task["ansible.builtin.shell"]["cmd"] for task in TASKS if "ansible.builtin.shell" in task]
    assert DESCRIPTION in shell
    words = rendered(
        shell.replace(DESCRIPTION, str(place / "selfsigned.cnf")),
        chatmail_tls_certificate=place / "fullchain.pem",
        chatmail_tls_key=place / "privkey.pem",
        chatmail_tls_mode=mode,
    )
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=True)
    return done.stdout == "made\n"


def date(place: Path, certificate: float, description: float) -> None:
    os.utime(place / "fullchain.pem", (certificate, certificate))
    os.utime(place / "selfsigned.cnf", (description, description))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A description, and a certificate made of it."""
    describe(tmp_path, "DNS:_x.test")
    assert is_made(tmp_path)
    return tmp_path


def test_it_is_kept(place: Path) -> None:
    assert not is_made(place)


def test_it_is_kept_where_both_files_are_of_one_second(place: Path) -> None:
    """tar(1) keeps times in whole seconds, so a restored backup may have both of the same one."""
    date(place, 1_000_000_000, 1_000_000_000)
    assert not is_made(place)


def test_other_names(place: Path) -> None:
    date(place, 1_000_000_000, 1_000_000_000)
    describe(place, "DNS:_x.test", "IP:192.0.2.1")
    assert is_made(place)
    words = ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", str(place / "fullchain.pem")]
    assert "192.0.2.1" in subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("mode", "made"), [("selfsigned", True), ("acme", False)])
def test_a_certificate_that_ends_soon(place: Path, mode: str, *, made: bool) -> None:
    words = "openssl req -x509 -days 29 -config selfsigned.cnf -key privkey.pem -out fullchain.pem"
    subprocess.run(words.split(), cwd=place, capture_output=True, check=True)
    assert is_made(place, mode) is made
