#!/usr/bin/python
"""Finds files that the playbook would replace and others wrote, and copies them.

A file has no author if it has only comments, if it is the one of Debian's package (dpkg's and ucf's
checksums), or if it is the main.cf that Postfix's package generates. It is the playbook's if it has Ansible's
mark, on a host that the playbook has deployed. Every other file has another author, such as another playbook.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
import shutil
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: foreign_files
short_description: Find files that the playbook did not write, and keep copies of them
description: Changes nothing unless O(backup) is set. Makes one copy of each content, and overwrites none.
author: The chatmail-milter authors
options:
  written:
    description: Files that the playbook writes.
    type: list
    elements: path
    required: true
  unmarked:
    description: Those of them that the playbook writes without its mark.
    type: list
    elements: path
    default: []
  unread:
    description: Files and directories that the playbook leaves in place, and no program reads afterwards.
    type: list
    elements: path
    default: []
  copied:
    description: Files that the playbook replaces on every host, after it made a copy.
    type: list
    elements: path
    default: []
  traces:
    description: Files that only this playbook writes. A host with a marked one of them was deployed by it.
    type: list
    elements: path
    required: true
  backup:
    description: Directory for the copies, each run's in one named for the time. None are made if empty.
    type: str
    default: ""
  foreign_too:
    description: Copy what is foreign too, and not only O(copied).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Look
  foreign_files:
    written: [/etc/postfix/main.cf]
    traces: [/etc/tmpfiles.d/chatmail.conf]
"""

RETURN = r"""
foreign:
  description: Paths of files that the playbook did not write.
  type: list
  returned: always
ours:
  description: Whether the playbook has deployed this host.
  type: bool
  returned: always
copies:
  description: Directory of the copies made in this run; empty if there are none.
  type: str
  returned: always
"""

MARK = b"Ansible managed"
# What postfix.postinst writes into main.cf, with what it makes of its questions (`asked`).
STOCK = [
    "smtpd_banner",
    "biff",
    "append_dot_mydomain",
    "readme_directory",
    "compatibility_level",
    "smtpd_tls_cert_file",
    "smtpd_tls_key_file",
    "smtpd_tls_security_level",
    "smtp_tls_CApath",
    "smtp_tls_security_level",
    "alias_maps",
    "alias_database",
    "smtp_tls_session_cache_database",
    "smtpd_tls_session_cache_database",
    "smtpd_relay_restrictions",
    "myhostname",
    "myorigin",
    "mailbox_size_limit",
    "recipient_delimiter",
    "inet_interfaces",
    "inet_protocols",
    "default_transport",
    "relay_transport",
    "mydestination",
    "relayhost",
    "mynetworks",
    "smtpd_use_tls",
    "html_directory",
    # Of Debian 13.
    "cyrus_sasl_config_path",
    "mailbox_command",
    "mynetworks_style",
    "smtp_tls_CAfile",
]


def main() -> None:
    """The module's entry point, on the host."""
    lists = {
        name: {"type": "list", "elements": "path", "default": []} for name in ("unmarked", "unread", "copied")
    }
    required = {
        name: {"type": "list", "elements": "path", "required": True} for name in ("written", "traces")
    }
    module = AnsibleModule(
        argument_spec={
            **lists, **required,
            "backup": {"type": "str", "default": ""}, "foreign_too": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )  # fmt: skip
    wanted: dict[str, Any] = module.params
    ours = any(MARK in read(path) for path in wanted["traces"])
    stock = checksums()

    def foreign(path: str) -> bool:
        return not (ours and (MARK in read(path) or path in wanted["unmarked"])) and not nobodys(path, stock)

    found = [path for path in wanted["written"] if path not in wanted["copied"] and foreign(path)]
    # On a host that the playbook has deployed, no program has read them since the first run.
    found += [path for path in files(wanted["unread"]) if not ours and not nobodys(path, stock)]
    copied = [path for path in wanted["copied"] if not (ours and MARK in read(path)) and read(path)]
    wanted_copies = copied + (found if wanted["foreign_too"] else [])
    place = ""
    if wanted["backup"] and not module.check_mode:
        place = keep(wanted["backup"], [path for path in wanted_copies if not kept(wanted["backup"], path)])
    module.exit_json(changed=bool(place), foreign=found, ours=ours, copies=place)


def read(path: str) -> bytes:
    """The content of the file; empty if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def files(paths: list[str]) -> list[str]:
    """The given files, and those in the given directories."""
    found = [path for path in paths if os.path.isfile(path)]
    for top in paths:
        found += [os.path.join(place, name) for place, _, names in os.walk(top) for name in sorted(names)]
    return found


def checksums() -> set[tuple[str, str]]:
    """Path and MD5 of every configuration file in its package."""
    status = read("/var/lib/dpkg/status").decode("utf-8", "replace")
    known = set(re.findall(r"^ (/\S+) ([0-9a-f]{32})\b", status, re.MULTILINE))
    ucf = read("/var/lib/ucf/hashfile").decode("utf-8", "replace")
    return known | {
        (path, digest) for digest, path in re.findall(r"^([0-9a-f]{32}) +(/\S+)$", ucf, re.MULTILINE)
    }


def nobodys(path: str, stock: set[tuple[str, str]]) -> bool:
    """Whether the file has no author, so that replacing it loses nothing."""
    content, real = read(path), os.path.realpath(path)
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line and not line.startswith("#")]
    if not said or (real, hashlib.md5(content).hexdigest()) in stock:  # noqa: S324  (dpkg's choice)
        return True
    if path == "/etc/postfix/main.cf":
        return stock_main_cf(content.decode("utf-8", "replace"))
    if path == "/etc/postfix/master.cf":
        return content in (read("/etc/postfix/master.cf.proto"), read("/usr/share/postfix/master.cf.dist"))
    if path == "/etc/exim4/update-exim4.conf.conf":
        return any(re.fullmatch(r"dc_eximconfig_configtype='(local|none)'", line) for line in said)
    return False


def stock_main_cf(text: str) -> bool:
    """Whether Postfix's package generated it: no other parameters, no relay host, no other domain."""
    text = re.sub(r"\n[ \t]+", " ", re.sub(r"(?m)^[ \t]*(#.*)?\n", "", text + "\n"))
    values = {
        name.strip(): value.strip() for name, _, value in (line.partition("=") for line in text.splitlines())
    }
    host = values.get("myhostname", "")
    mailname = read("/etc/mailname").decode("utf-8", "replace").strip()
    own = {"$myhostname", host, mailname, "localhost", "localdomain", f"localhost.{host.partition('.')[2]}"}
    own |= {f"localhost.{host}", f"localhost.{mailname}", "localhost.localdomain", "localhost.", ""}
    return (
        set(values) <= set(STOCK)
        and not values.get("relayhost")
        and not values.get("mailbox_command")
        and values.get("mynetworks_style", "host") == "host"
        and set(re.split(r"[ ,]+", values.get("mydestination", ""))) <= own
        and all(
            re.match(r"127\.|\[::", net)
            for net in re.split(r"[ ,]+", values.get("mynetworks", "127."))
            if net
        )
    )


def kept(backup: str, path: str) -> bool:
    """Whether an earlier run made a copy with the same content."""
    runs = os.listdir(backup) if os.path.isdir(backup) else []
    copies = [os.path.join(backup, run, path.lstrip("/")) for run in runs]
    return any(os.path.isfile(copy) and filecmp.cmp(copy, path, shallow=False) for copy in copies)


def keep(backup: str, paths: list[str]) -> str:
    """Copies the files to a new directory, named for the time. Returns its path, or empty without files."""
    if not paths:
        return ""
    base = place = os.path.join(backup, time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime()))
    os.makedirs(backup, mode=0o700, exist_ok=True)
    number = 1
    while os.path.exists(place):
        number += 1
        place = f"{base}.{number}"
    os.mkdir(place, mode=0o700)
    for path in paths:
        target = os.path.join(place, path.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(path, target)
    return place


if __name__ == "__main__":
    main()
