#!/usr/bin/env python3
"""Builds the Ansible collection `chatmail.relay` from this directory: dist/chatmail-relay-VERSION.tar.gz.

A collection has other names for the same directories, and its roles find no file beside the playbook. So the
tree is laid out anew: files of `postfix/`, `dovecot/` and `templates/` come with the roles, filters are named
in full, and each role gets a README made of its argument_specs. It contains our Debian package (`make deb`).
https://docs.ansible.com/ansible/latest/dev_guide/developing_collections_structure.html
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

ANSIBLE = Path(__file__).resolve().parent
ROOT = ANSIBLE.parent
DIST = ROOT / "dist"
NAME = "chatmail.relay"
# For Debian 12, and where it has been built for Debian 13.
PACKAGE, PACKAGE_13 = "chatmail-milter.deb", "chatmail-milter-13.deb"
PLAYBOOKS = ("site.yml", "beside.yml")
FILTERS = ("malformed_setting", "misspelt_variables", "set_twice", "with_settings")
PHASES = ("install", "configure", "run")
# In a role of the repository these are beside the playbook.
HERE = {
    "playbook_dir ~ '/../postfix/'": "role_path ~ '/files/postfix/'",
    "{{ playbook_dir }}/../dovecot": "{{ role_path }}/files/dovecot",
    # The role `chatmail` has it, and `beside` asks that role.
    "{{ playbook_dir }}/../dist/chatmail-milter{{": "{{ role_path }}/files/chatmail-milter{{",
    # To be published: written where the operator is.
    "{{ playbook_dir }}/../dist/{{": "{{ lookup('ansible.builtin.env', 'PWD') }}/{{",
}


def main() -> None:
    """Build it; prints the path."""
    if not (DIST / PACKAGE).exists():
        sys.exit("there is no package: run `make deb`")
    stem = NAME.replace(".", "-")
    # The Containerfile does not know the name, so there is one file only.
    for earlier in DIST.glob(f"{stem}-*.tar.gz"):
        earlier.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        lay_out(tree)
        subprocess.run(  # noqa: S603
            [
                Path(sys.executable).with_name("ansible-galaxy"),
                *("collection", "build", "--force", "--output-path", DIST, tree),
            ],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    print(DIST / f"{stem}-{version('chatmail-milter')}.tar.gz")


def lay_out(tree: Path) -> None:
    """Write the collection's files into `tree`, which does not exist yet."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ANSIBLE / "roles", tree / "roles")
    shutil.copytree(ANSIBLE / "library", tree / "plugins/modules", ignore=skip)
    shutil.copytree(ANSIBLE / "filter_plugins", tree / "plugins/filter", ignore=skip)
    for name in ("postfix", "dovecot"):
        shutil.copytree(ROOT / name, tree / "roles" / name / "files" / name)
    (tree / "roles/chatmail/files").mkdir()
    for package in (PACKAGE, PACKAGE_13):
        if (DIST / package).exists():
            shutil.copyfile(DIST / package, tree / "roles/chatmail/files" / package)
    (tree / "playbooks").mkdir()
    for name in PLAYBOOKS:
        shutil.copyfile(ANSIBLE / name, tree / "playbooks" / name)
    for file in tree.rglob("*.yml"):
        file.write_text(as_in_a_collection(file.read_text("utf-8")), "utf-8")
    for role in sorted((tree / "roles").iterdir()):
        take_included(role / "templates")
        (role / "README.md").write_text(readme(role), "utf-8")
    (tree / "meta").mkdir()
    (tree / "meta/runtime.yml").write_text('requires_ansible: ">=2.16.0"\n', "utf-8")
    (tree / "chatmail.toml.example").write_text(example(), "utf-8")
    shutil.copyfile(ROOT / "README.md", tree / "README.md")
    shutil.copyfile(ROOT / "LICENSE", tree / "LICENSE")
    (tree / "galaxy.yml").write_text(yaml.safe_dump(galaxy()), "utf-8")


def galaxy() -> dict[str, Any]:
    """Metadata of the collection."""
    namespace, name = NAME.split(".")
    return {
        "namespace": namespace,
        "name": name,
        "version": version("chatmail-milter"),
        "readme": "README.md",
        "authors": ["The chatmail-milter authors"],
        "description": "A chatmail relay on Debian 12: a whole host, or one domain beside other mail",
        "license": ["GPL-2.0-or-later"],
    }


def as_in_a_collection(text: str) -> str:
    """A task or variables file, with paths and filters as a collection has them."""
    for here, there in HERE.items():
        text = text.replace(here, there)
    return re.sub(rf"\| ({'|'.join(FILTERS)})\b", rf"| {NAME}.\1", text)


def take_included(templates: Path) -> None:
    """Copy what the templates include and other roles share; those of `chatmail` include their own."""
    for file in list(templates.glob("*.j2")):
        for name in re.findall(r"\{% include '([^']+)'", file.read_text("utf-8")):
            if not (templates / name).exists():
                shutil.copyfile(ANSIBLE / "templates" / name, templates / name)


def readme(role: Path) -> str:
    """What the role does, its variables, and a playbook with it alone."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text("utf-8"))
    main = specs["argument_specs"]["main"]
    lines = [f"# {NAME}.{role.name}", "", f"{main['short_description']}.", ""]
    about = main.get("description", [])
    lines += [about] if isinstance(about, str) else about
    play = [
        "- hosts: relays",
        "  become: true",
        "  pre_tasks:",
        f"    - ansible.builtin.import_role: {{name: {NAME}.chatmail, tasks_from: variables}}",
        "    - ansible.builtin.package_facts: {manager: apt}",
        f"  roles: [{NAME}.{role.name}]",
    ]
    guard = "The first task checks the variables, and gives this role those of the role `chatmail`."
    if role.name == "beside":
        # It needs what its preflight found out.
        play = [f"- import_playbook: {NAME}.beside"]
        guard = (
            "The playbook first refuses variables that can't work, and a host where something is in the way."
        )
    lines += [
        "",
        "```yaml",
        *play,
        "```",
        "",
        guard,
        "Tags: " + ", ".join(f"`{role.name}_{phase}`" for phase in PHASES) + ".",
    ]
    if options := main.get("options"):
        lines += ["", "| variable | default | what it is |", "|---|---|---|"]
        for name, spec in options.items():
            default = "required" if spec.get("required") else f"`{spec['default']}`"
            lines.append(f"| `{name}` | {default} | {' '.join(spec['description'].split())} |")
    return "\n".join(lines) + "\n"


def example() -> str:
    """The documented configuration: where our Python is missing, the filters know the keys from it."""
    sys.path.insert(0, str(ROOT))
    from chatmail_milter.config.example import EXAMPLE, render

    return render(EXAMPLE, documented=True)


if __name__ == "__main__":
    main()
