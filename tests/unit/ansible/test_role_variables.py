"""Each variable of a role is documented with the default in force; each task has its role's tags."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import pytest

from chatmail_milter import config

yaml = pytest.importorskip("yaml", reason="comes with ansible-core, of the extra `lab`")

ANSIBLE = Path(__file__).resolve().parents[3] / "ansible"
ROLES = sorted(path for path in (ANSIBLE / "roles").iterdir() if path.is_dir())


def read(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; empty where there is no file."""
    return (yaml.safe_load(path.read_text("utf-8")) or {}) if path.exists() else {}


def options(role: Path) -> dict[str, dict[str, Any]]:
    """The options of the role's main entry point."""
    specs: dict[str, Any] = read(role / "meta/argument_specs.yml").get("argument_specs", {})
    found: dict[str, dict[str, Any]] = specs.get("main", {}).get("options", {})
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_argument_specs_are_equal_to_defaults(role: Path) -> None:
    documented = {name: spec["default"] for name, spec in options(role).items() if not spec.get("required")}
    assert documented == read(role / "defaults/main.yml")


def test_the_playbooks_defaults_are_those_of_the_settings() -> None:
    variables: dict[str, Any] = {"chatmail_domain": "a.test", "chatmail_hostname": "mx.a.test"}
    for role in ("chatmail", "journald"):
        variables = {**read(ANSIBLE / "roles" / role / "defaults/main.yml"), **variables}
    variables["chatmail_log_days"] = variables["journald_days"]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters["bool"] = pytest.importorskip("ansible.plugins.filter.core").to_bool
    environment.filters["to_json"] = json.dumps
    template = (ANSIBLE / "roles/chatmail/templates/chatmail.toml.j2").read_text("utf-8")
    rendered = environment.from_string(template).render(variables, ansible_managed="")
    # By itself a program can't know that nginx serves mail there, and that coturn is there.
    expected = config.parse(
        'mail = { domain = "a.test", hostname = "mx.a.test", port_443 = true }\n'
        'metadata = { turn = "mx.a.test:3478" }'
    )
    assert config.parse(rendered) == expected


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_role_and_every_option_says_what_it_is(role: Path) -> None:
    assert read(role / "meta/argument_specs.yml")["argument_specs"]["main"]["short_description"]
    assert [name for name, spec in options(role).items() if not spec.get("description")] == []


def test_every_role_is_in_a_playbook() -> None:
    named: set[str] = set()
    for file in ("site.yml", "beside.yml"):
        play, *_ = yaml.safe_load((ANSIBLE / file).read_text("utf-8"))
        named |= set(play["roles"])
    assert sorted(named) == [role.name for role in ROLES]


@pytest.mark.parametrize(
    "role", [role for role in ROLES if role.name != "chatmail"], ids=lambda role: role.name
)
def test_a_role_takes_no_variable_of_another_one(role: Path) -> None:
    """By itself it has its own and those of `chatmail`, which alone may look at those of all."""
    foreign = {name for other in ROLES if other.name != "chatmail" for name in options(other)} - {
        *options(role)
    }
    files = [path for kind in ("*.j2", "*.yml") for path in role.rglob(kind) if path.parent.name != "meta"]
    files += [path for path in (ANSIBLE.parent / role.name).glob("**/*") if path.is_file()]
    assert files != []
    assert {word for path in files for word in re.findall(r"\w+", path.read_text("utf-8"))} & foreign == set()


def test_nothing_follows_an_included_template_on_its_last_line() -> None:
    # Ansible takes the line's end off the tag, and Jinja that off the file: an empty line keeps them apart.
    found = [
        f"{path.relative_to(ANSIBLE)}: {line}"
        for path in ANSIBLE.rglob("*.j2")
        for line, after in pairwise([*path.read_text("utf-8").splitlines(), ""])
        if line.startswith("{% include ") and after
    ]
    assert found == []


PHASES = ("install", "configure", "run")
# They are in every run, or tagged as a whole in the playbook.
WHOLE = {
    "variables.yml", "release.yml", "python.yml", "host.yml", "preflight.yml", "verify.yml", "last.yml",
    "record.yml",
}  # fmt: skip


def untagged(tasks: list[dict[str, Any]], role: str, tags: tuple[str, ...] = ()) -> list[str]:
    """Names of the tasks that belong to none of the three parts of a role, or to several."""
    found = []
    for task in tasks:
        own = (*tags, *([task["tags"]] if isinstance(task.get("tags"), str) else task.get("tags", [])))
        if "block" in task:
            found += untagged(task["block"], role, own)
        elif "ansible.builtin.import_tasks" in task:
            file = ANSIBLE / "roles" / role / "tasks" / task["ansible.builtin.import_tasks"]
            found += untagged(yaml.safe_load(file.read_text("utf-8")), role, own)
        elif len({*own} & {f"{role}_{phase}" for phase in PHASES}) != 1:
            found.append(task["name"])
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_task_is_of_one_part_of_its_role(role: Path) -> None:
    files = list((role / "tasks").glob("*.yml"))
    assert files
    for file in files:
        imported = any(file.name in other.read_text("utf-8") for other in (role / "tasks").glob("*.yml"))
        if file.name not in WHOLE and not imported:
            assert untagged(yaml.safe_load(file.read_text("utf-8")), role.name) == []


def test_conditions_take_the_words_of_a_command_line_for_what_they_say() -> None:
    """`-e NAME=false` gives text, which Jinja takes for true; the specs accept it and leave it text."""
    names = [name for role in ROLES for name, spec in options(role).items() if spec["type"] == "bool"]
    assert len(names) > 5
    used = re.compile(rf"\b({'|'.join(names)})\b(?! *:)(?! *\| *bool\b)")
    files = [*ANSIBLE.rglob("*.j2"), *ANSIBLE.glob("roles/*/[tv]a*/*.yml")]
    files += [path for name in ("postfix", "dovecot") for path in (ANSIBLE.parent / name).rglob("*.c*f*")]
    found = [
        f"{path.relative_to(ANSIBLE.parent)}: {line.strip()}"
        for path in files
        for line in path.read_text("utf-8").splitlines()
        if used.search(line) and not line.lstrip().startswith("#")
    ]
    assert found == []
