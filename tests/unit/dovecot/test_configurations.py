"""The configurations of Dovecot 2.3 and 2.4 open the same sockets, for the same users."""

from __future__ import annotations

import re
from pathlib import Path

DOVECOT = Path(__file__).resolve().parents[3] / "dovecot"
LISTENER = re.compile(r"^  (unix|inet)_listener (\S+) \{\n(.*?)^  \}", re.MULTILINE | re.DOTALL)
# Names of 2.4 for what 2.3 calls otherwise.
RENAMED = {"listen": "address", "$SET:default_internal_user": "$default_internal_user"}
# 2.4 has no replication.
ONLY_IN_2_3 = {("unix", "replicator")}


def listeners(version: str) -> dict[tuple[str, str], frozenset[str]]:
    """Maps each socket to its settings."""
    text = (DOVECOT / version / "dovecot.conf").read_text("utf-8")
    for new, old in RENAMED.items():
        text = re.sub(rf"(?<!\S){re.escape(new)}(?!\S)", old, text)
    return {
        (kind, name): frozenset(line.strip() for line in settings.splitlines())
        for kind, name, settings in LISTENER.findall(text)
    }


def test_both_versions_open_the_same_sockets_for_the_same_users() -> None:
    older, newer = listeners("2.3"), listeners("2.4")
    assert len(newer) > 15
    assert {name: older[name] for name in older.keys() - ONLY_IN_2_3} == newer


def test_what_2_4_needs_comes_first() -> None:
    first = (DOVECOT / "2.4/dovecot.conf").read_text("utf-8").partition("\n")[0]
    # https://doc.dovecot.org/2.4.1/installation/upgrade/2.3-to-2.4.html, "Required Settings"
    assert first == "dovecot_config_version = 2.4.1"
