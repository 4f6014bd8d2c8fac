"""The Ansible collection, installed from its tarball, does to a relay what the repository's playbook does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.own_hosts.by_address.relay_by_address import playbook
from tests.e2e.playbook import words
from tests.lab import Lab
from tests.lab.deployment import recap
from tests.lab.host import LabHost
from tests.lab.plan import REPOSITORY


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is installed."""
    place = tmp_path_factory.mktemp("collections")
    build = [sys.executable, str(REPOSITORY / "ansible/build_collection.py")]
    built = subprocess.run(build, capture_output=True, text=True, check=True)
    galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
    install = [galaxy, "collection", "install", "--offline", "-p", str(place), built.stdout.strip()]
    subprocess.run(install, capture_output=True, check=True)
    return place / "ansible_collections/chatmail/relay"


@pytest.fixture(autouse=True)
def _path(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", str(collection.parents[2]))


def run(hosts: Lab, host: LabHost, of: Path | str, **variables: Any) -> subprocess.CompletedProcess[str]:
    # Mitogen does not find a collection's own modules.
    return playbook(hosts, host, of=of, mitogen=False, **variables)


def package(collection: Path) -> str:
    """The package that it brings, in place of the lab's."""
    return str(collection / "roles/chatmail/files/chatmail-milter.deb")


def test_its_playbook_changes_nothing_on_a_relay_of_the_repository_s(
    hosts: Lab, literal: LabHost, collection: Path
) -> None:
    done = run(hosts, literal, "chatmail.relay.site", chatmail_deb=package(collection))
    assert done.returncode == 0, done.stdout
    assert recap(done.stdout).changed == 0, done.stdout


def test_each_role_works_alone_as_its_readme_says(
    hosts: Lab, literal: LabHost, collection: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.yml"
    # All but the one for a host that others have mail on.
    roles = [role for role in (collection / "roles").iterdir() if role.name != "beside"]
    plays = []
    for role in roles:
        plays += re.findall(r"```yaml\n(.*?)```", (role / "README.md").read_text("utf-8"), re.S)
    assert len(plays) == len(roles) > 10
    alone.write_text("".join(plays), "utf-8")
    done = run(hosts, literal, alone, chatmail_deb=package(collection))
    assert done.returncode == 0, done.stdout
    assert recap(done.stdout).changed == 0, done.stdout


def test_an_unknown_key_is_refused_there_too(hosts: Lab, literal: LabHost, collection: Path) -> None:
    assert collection
    done = run(hosts, literal, "chatmail.relay.site", chatmail_settings={"relay": {"wokers": 3}})
    assert done.returncode != 0
    assert "relay.wokers: no such key; the nearest is relay.workers" in words(done)
