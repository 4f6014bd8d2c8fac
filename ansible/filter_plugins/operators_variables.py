"""Finds errors in the operator's variables, on the control host, before any host is contacted.

Names are compared with `argument_specs.yml` and `vars` of all roles. Values are read as the programs read
them: the rendered chatmail.toml goes through `chatmail_milter.config`, durations and sizes too.
`chatmail_settings` adds the keys that no variable sets.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

# Of the repository, or of the collection that build_collection.py makes of it.
ROOT = Path(__file__).resolve().parents[2]
ROLES = next(path for path in (ROOT / "roles", ROOT / "ansible/roles") if path.is_dir())
# Only the collection has it.
EXAMPLE = ROOT / "chatmail.toml.example"


def misspelt(names: Iterable[str], roles: Path = ROLES) -> list[str]:
    """One line for each name that looks like a variable of a role but is not, with the nearest one."""
    options = _options(roles)
    known = options | _internal(roles)
    prefixes = tuple(f"{role.name}_" for role in roles.iterdir())
    found = []
    for name in sorted(set(names) - known):
        nearest = difflib.get_close_matches(name, sorted(options), n=1, cutoff=0.0)[0]
        # `chatmial_domain` has no prefix of ours, but is meant to.
        if name.startswith(prefixes) or difflib.SequenceMatcher(None, name, nearest).ratio() >= 0.9:
            found.append(f"there is no variable {name}; the nearest is {nearest}")
    return found


def malformed(rendered: str, template: str) -> str:
    """The error of chatmail_milter.config about the rendered file, with the variable's name; else empty."""
    sys.path.insert(0, str(ROOT))
    try:
        from chatmail_milter import config
    except ImportError:  # another Ansible than the one of `make`: the host checks values before they are used
        return unknown(rendered, EXAMPLE.read_text("utf-8")) if EXAMPLE.exists() else ""
    finally:
        sys.path.remove(str(ROOT))
    try:
        config.parse(rendered, "chatmail.toml")
    except config.ConfigError as error:
        variables = _variables(template)
        key = next((key for key in variables if f": {key}: " in str(error)), "")
        return f"{variables.get(key, 'chatmail_settings')}: {error}"
    return ""


def unknown(rendered: str, example: str) -> str:
    """The error about the first key of the rendered file that the documented example lacks; else empty."""
    sections: dict[str, list[str]] = {}
    for line in example.splitlines():
        if head := re.match(r"\[(\w+)\]$", line):
            keys = sections.setdefault(head[1], [])
        elif pair := re.match(r"#?(\w+) =", line):
            keys.append(pair[1])
    for section, values in tomllib.loads(rendered).items():
        if section not in sections:
            return _no_such_key(section, list(sections), "")
        for key in values:
            if key not in sections[section]:
                return _no_such_key(key, sections[section], f"{section}.")
    return ""


def _no_such_key(key: str, known: list[str], where: str) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
    return f"chatmail_settings: {where}{key}: no such key; the nearest is {where}{nearest}"


def with_settings(rendered: str, settings: dict[str, Any]) -> str:
    """The rendered chatmail.toml with the keys of `settings` (section to key to value) in their sections.

    Text is added to text, so that without settings the file stays as it is.
    """
    lines = rendered.splitlines()
    for section, values in settings.items():
        if not isinstance(values, dict):
            raise ValueError(f"chatmail_settings: {section}: wants keys with values")
        added = [f"{key} = {_toml(value)}" for key, value in values.items()]
        head = f"[{section}]"
        if head not in lines:
            lines += ["", head]
        place = lines.index(head) + 1
        lines[place:place] = added
    return "\n".join(lines) + "\n"


def set_twice(rendered: str, settings: dict[str, Any], template: str) -> list[str]:
    """One line for each key of `settings` that a variable sets: other programs' files depend on these."""
    ours, variables = tomllib.loads(rendered), _variables(template)
    found = []
    for section, values in settings.items():
        for key in sorted(set(values if isinstance(values, dict) else ()) & set(ours.get(section, ()))):
            of = variables.get(f"{section}.{key}", "")
            instead = f"set {of} instead" if of else "the playbook sets it"
            found.append(f"chatmail_settings: {section}.{key}: {instead}")
    return found


def _options(roles: Path) -> set[str]:
    names: set[str] = set()
    for file in roles.glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(file.read_text("utf-8"))["argument_specs"].values():
            names |= set(entry.get("options", {}))
    return names


def _internal(roles: Path) -> set[str]:
    """Internal variables of the roles: those of `vars`, and results of tasks."""
    names: set[str] = set()
    for file in roles.glob("*/vars/*.yml"):
        names |= set(yaml.safe_load(file.read_text("utf-8")) or {})
    for file in [*roles.glob("*/tasks/*.yml"), roles.parent / "site.yml"]:
        if file.exists():
            names |= set(re.findall(r"register: (\w+)", file.read_text("utf-8")))
    return names


def _variables(template: str) -> dict[str, str]:
    """Maps `section.key` of the configuration to the variable or the comment that it is rendered from."""
    found, section = {}, ""
    for line in template.splitlines():
        if head := re.match(r"\[(\w+)\]", line):
            section = head[1]
        elif pair := re.match(r"(\w+) = .*?\{(?:# (.+?) #|\{ (chatmail_\w+))", line):
            found[f"{section}.{pair[1]}"] = pair[2] or pair[3]
    return found


def _toml(value: Any) -> str:
    """A value in TOML 1.0, of which JSON's strings, numbers, booleans and arrays are a part."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key, ensure_ascii=False)} = {_toml(inner)}" for key, inner in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if value is None:
        raise ValueError("chatmail_settings: TOML has no null: leave the key out")
    return json.dumps(value, ensure_ascii=False)


class FilterModule:
    """The class in which Ansible looks for filters."""

    def filters(self) -> dict[str, Any]:
        return {
            "malformed_setting": malformed,
            "misspelt_variables": misspelt,
            "set_twice": set_twice,
            "with_settings": with_settings,
        }
