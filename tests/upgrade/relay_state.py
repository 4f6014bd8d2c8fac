"""What a relay holds that an upgrade must leave as it is: the operator's settings, accounts, keys."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from tests.lab.host import LabHost

# Both versions have `chatmailctl` in the path of a shell.
_CTL = "chatmailctl"
# Made once by the first playbook: what a relay is known by, and what its users and peers rely on.
_FILES = """
find /etc/chatmail /etc/opendkim/keys -type f \\( -name '*.key' -o -name '*.pem' -o -name '*.private' \
    -o -name '*.secret' -o -name '*.url' \\) -exec sha256sum {} +
"""


def ctl(host: LabHost, *words: str) -> Any:
    """The JSON of a `chatmailctl …`, of whichever version is there."""
    return json.loads(host.run(shlex.join([_CTL, *words, "--json"])).stdout)


def operate(host: LabHost, *words: str) -> None:
    """Have a `chatmailctl …` do something."""
    host.run(shlex.join([_CTL, *words]))


@dataclass(frozen=True)
class RelayState:
    """`accounts`: by address, without the last login. `settings`: by command. `files`: hashes by path."""

    accounts: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    files: dict[str, str]


_SETTINGS = ("block list", "federation show", "route list", "token list")


def state(host: LabHost, with_own_quota: str) -> RelayState:
    """All of that; `with_own_quota` is an account that has one."""
    accounts = {one["address"]: one for one in ctl(host, "account", "list")}
    for one in accounts.values():
        del one["last_login"]
    settings = {command: ctl(host, *command.split()) for command in _SETTINGS}
    quota = ctl(host, "account", "quota", with_own_quota)
    settings["account quota"] = {"quota": quota["quota"], "own": quota["own"]}
    lines = host.run(_FILES).stdout.splitlines()
    files = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    return RelayState(accounts, settings, files)
