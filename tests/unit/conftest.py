"""What tests share: a key, a store, and for `chatmailctl` a configuration, and a queue in a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from chatmail_milter.store.engine import open_store
from tests import stores

_KEY = "6e" * 32
_POSTSUPER = """#!/bin/sh
there=${0%/*} ids=$(cat) number=0
echo "$1" $ids >> "$there/postqueue.ordered"
for id in $ids; do grep -qx "$id" "$there/postqueue.left" 2>/dev/null || number=$((number + 1)); done
case $1 in -h) what='Placed on hold';; -H) what='Released from hold';; -d) what=Deleted;; esac
[ $number = 1 ] && unit=message || unit=messages
echo "postsuper: $what: $number $unit" >&2
"""


# Once for all: thousands of tests need no key, and would each pay for it.
@pytest.fixture(scope="package", autouse=True)
def _names_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    file = tmp_path_factory.mktemp("key") / "names.key"
    file.write_text(_KEY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATMAIL_NAMES_KEY", str(file))
        yield


@pytest.fixture
def names_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own file of the key with which names are reserved."""
    file = tmp_path / "names.key"
    file.write_text(_KEY)
    monkeypatch.setenv("CHATMAIL_NAMES_KEY", str(file))
    return file


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a store that is there already."""
    return stores.made(tmp_path / "store.sqlite")


@pytest.fixture
def engine(url: str) -> Engine:
    return open_store(url)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the store that the configuration of a.test names."""
    url = stores.made(tmp_path / "store.sqlite")
    file = tmp_path / "chatmail.toml"
    file.write_text(f'[mail]\ndomain = "a.test"\n[store]\nurl = "{url}"\nmail = "{tmp_path}/mail"\n')
    monkeypatch.setenv("CHATMAIL_CONFIG", str(file))
    # The command sets one for its process, which here is that of all tests.
    before = os.umask(0o022)
    yield url
    os.umask(before)


@pytest.fixture
def postqueue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `postqueue -j` prints; beside it, `.hurried` gets the ID of each `postqueue -i`.

    `.ordered` gets the option and the IDs of each `postsuper`. Both programs accept any ID, as those of
    Postfix 3.7 do. postsuper's count leaves out the IDs in `.left`.
    """
    program = tmp_path / "postqueue"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program.write_text('#!/bin/sh\ncase $1 in -j) cat "$0.json";; -i) echo "$2" >> "$0.hurried";; esac\n')
    program.chmod(0o755)
    (tmp_path / "postqueue.json").write_text("")
    super_ = tmp_path / "postsuper"
    super_.write_text(_POSTSUPER)
    super_.chmod(0o755)
    return tmp_path / "postqueue.json"
