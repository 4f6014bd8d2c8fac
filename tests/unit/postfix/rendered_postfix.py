"""main.cf and master.cf as the playbook renders them with default variables, parsed into values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pytest

yaml = pytest.importorskip("yaml", reason="comes with ansible-core, of the extra `lab`")
filters = pytest.importorskip("ansible.plugins.filter.core", reason="is ansible-core's, of the extra `lab`")

ROOT = Path(__file__).resolve().parents[3]

# A relay with a name, which is also its host's name. The roles derive these by Ansible's own filters.
_NAMED = {
    "ansible_managed": "",
    "chatmail_debian": "12",
    "chatmail_domain": "a.example",
    "chatmail_domain_bare": "a.example",
    "chatmail_domain_is_ip": False,
    "chatmail_hostname": "a.example",
    "chatmail_hostname_bare": "a.example",
}


@dataclass(frozen=True)
class MasterService:
    """A line of master.cf: its name, the program, and the parameters in force for it."""

    name: str
    program: str
    parameters: dict[str, str]


def services(program: str, **variables: Any) -> list[MasterService]:
    """The services that run `program`; what Postfix has a default for is not among their parameters."""
    shared = _main_cf(_rendered("main.cf", variables))
    found = [_service(entry, shared) for entry in _entries(_rendered("master.cf", variables))]
    return [one for one in found if one.program == program]


def _rendered(name: str, variables: dict[str, Any]) -> str:
    defaults: dict[str, Any] = {}
    for role in ("chatmail", "postfix"):
        text = (ROOT / f"ansible/roles/{role}/defaults/main.yml").read_text("utf-8")
        defaults |= yaml.safe_load(text)
    # As Ansible's: the line ending after a block goes.
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters["bool"] = filters.to_bool
    given = {**defaults, **_NAMED, **variables}
    derived = yaml.safe_load((ROOT / "ansible/roles/chatmail/vars/main.yml").read_text("utf-8"))
    given["chatmail_max_relayed_size"] = environment.from_string(derived["chatmail_max_relayed_size"]).render(
        given
    )
    return environment.from_string((ROOT / "postfix" / name).read_text("utf-8")).render(given)


def _entries(text: str) -> list[str]:
    """Logical lines: one that begins with white space continues the one before; postconf(5)."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return re.sub(r"\n[ \t]+", " ", "\n".join(lines)).splitlines()


def _main_cf(text: str) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in _entries(text))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _service(entry: str, shared: dict[str, str]) -> MasterService:
    name, *_columns, program = entry.split(None, 8)[:8]
    own = re.findall(r"-o ([a-z_]+)=(.*?)(?= -o |\Z)", entry)
    return MasterService(name, program, shared | {key: value.strip() for key, value in own})
