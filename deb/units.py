"""Units, users and directories as files of the package, rendered from the playbook's templates.

The values are the defaults of the role. A host's own values are in drop-ins, which the playbook writes, or
the operator who does without it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml  # type: ignore[import-untyped]  # comes with ansible-core

from deb import release

ROLE = Path(__file__).resolve().parents[1] / "ansible/roles/chatmail"
MANAGED = "From the Debian package chatmail-milter. Change it by a drop-in (systemctl edit)"
KINDS = (
    "services", "sockets", "timers", "timed_services", "admin_services", "admin_sockets", "metrics_services",
    "metrics_timers", "webimap_services", "webimap_sockets",
)  # fmt: skip


def variables() -> dict[str, Any]:
    """The role's variables, without those that Ansible would compute, which are errors in a unit."""
    known = _variables(ROLE)
    return known | {
        "ansible_managed": MANAGED,
        "chatmail_postfix_unit": known["chatmail_postfix_units"].get(release.NUMBER, "postfix"),
    }


# Each unit asks for them, and YAML's parser is slow.
@cache
def _variables(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("defaults/main.yml", "vars/main.yml"):
        found |= yaml.safe_load((role / name).read_text("utf-8"))
    return {name: value for name, value in found.items() if "{{" not in str(value)}


HOME = variables()["chatmail_programs"].removesuffix("/bin")


def names() -> list[str]:
    """The names of all units but templates (`x@.service`); the target is the last."""
    known = variables()
    return [unit for kind in KINDS for unit in known[f"chatmail_{kind}"]] + ["chatmail.target"]


def templates() -> dict[str, str]:
    """Maps a template of the role to its path in the package."""
    described = {
        "sysusers.conf.j2": "usr/lib/sysusers.d/chatmail-milter.conf",
        "directories.j2": "usr/lib/tmpfiles.d/chatmail-milter.conf",
    }
    units = [*names(), *variables()["chatmail_instantiated"]]
    return described | {f"units/{unit}.j2": f"lib/systemd/system/{unit}" for unit in units}


def files() -> dict[str, str]:
    """Maps a path in the package to its text."""
    return {path: render(template) for template, path in templates().items()}


def render(template: str) -> str:
    """A template as Ansible renders it. Raises `jinja2.UndefinedError`."""
    # As Ansible does it: the last line of an included file ends where the file does.
    environment = jinja2.Environment(  # noqa: S701  (no HTML)
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template(template).render(variables())
    # And a text ends in no fewer empty lines than its template.
    source = (ROLE / "templates" / template).read_text("utf-8")
    return text + "\n" * max(0, ends(source) - ends(text))


def auth_lua() -> str:
    """Dovecot's script, for a Dovecot that another configuration than ours may serve."""
    source = (ROLE.parents[2] / "dovecot/auth.lua").read_text("utf-8")
    environment = jinja2.Environment(  # noqa: S701  (no HTML)
        undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.from_string(source).render(
        variables() | {"ansible_managed": MANAGED, "dovecot_user_capabilities": "+XCHATMAIL XDELTAPUSH"}
    )


def ends(text: str) -> int:
    """The number of newlines at the end."""
    return len(text) - len(text.rstrip("\n"))
