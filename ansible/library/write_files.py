#!/usr/bin/python
"""Writes several files in one call.

`ansible.builtin.template` in a loop contacts the host two or three times for each file, which for thirty
files is most of a run. The texts are rendered already; missing parent directories are created.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: write_files
short_description: Write several files at once
description: Writes texts to files, each atomically and only where it differs. Knows check and diff mode.
author: The chatmail-milter authors
extends_documentation_fragment: files
options:
  files:
    description: Path to text. Missing parent directories are made with mode 0755.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write two files
  write_files:
    files:
      /etc/one.conf: "{{ lookup('ansible.builtin.template', 'one.conf.j2') }}"
      /etc/two.conf: "two\n"
    mode: "0644"
"""

RETURN = r"""
written:
  description: Paths of the files that were written or whose permissions were changed.
  type: list
  returned: always
"""


def main() -> None:
    """The module's entry point, on the host."""
    module = AnsibleModule(
        argument_spec={"files": {"type": "dict", "required": True}},
        add_file_common_args=True,
        supports_check_mode=True,
    )
    diffs: list[dict[str, str]] = []
    written = [path for path, text in module.params["files"].items() if write(module, path, text, diffs)]
    module.exit_json(changed=bool(written), written=written, diff=diffs)


def write(module: Any, path: str, text: str, diffs: list[dict[str, str]]) -> bool:
    """Writes the file; returns whether it was different before."""
    found = read(path)
    changed = found != text.encode("utf-8")
    if changed:
        before = (found or b"").decode("utf-8", "replace")
        diffs.append({"before_header": path, "after_header": path, "before": before, "after": text})
        if not module.check_mode:
            replace(module, path, text)
    if os.path.exists(path):
        attributes = module.load_file_common_arguments(module.params, path=path)
        changed = module.set_fs_attributes_if_different(attributes, changed)
    return changed


def read(path: str) -> bytes | None:
    """The present content; None if there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def replace(module: Any, path: str, text: str) -> None:
    """Replaces the file in one step, so that no program reads half of it."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    module.atomic_move(name, path)


if __name__ == "__main__":
    main()
