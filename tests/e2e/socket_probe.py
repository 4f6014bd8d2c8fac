"""Runs on a relay as root: which Unix sockets each user named in argv[1] (JSON) may connect to.

Prints JSON: `sockets`, the paths of all that are bound (of an abstract one with `@`), and `opened`, those
of each user. A user has the groups that the user database, any unit and any running process give.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import pwd
import re
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

_QUEUE = "/var/spool/postfix/"
_ACCEPTS, _DATAGRAM = 0x10000, "0002"  # of /proc/net/unix: flags and type
_KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)


def groups() -> dict[int, set[int]]:
    """The groups of each user ID, by running processes and by units."""
    found: dict[int, set[int]] = defaultdict(set)
    for status in glob.glob("/proc/[0-9]*/status"):
        try:
            text = Path(status).read_text()
        except OSError:  # ended since
            continue
        fields = dict(re.findall(r"^(Uid|Gid|Groups):(.*)$", text, re.MULTILINE))
        found[int(fields["Uid"].split()[0])] |= {
            int(one) for one in (fields["Gid"] + fields["Groups"]).split()
        }
    numbers = {
        one.split(":")[0]: int(one.split(":")[2]) for one in Path("/etc/group").read_text().splitlines()
    }
    show = ["systemctl", "show", "*.service", "--all", "--property=User,Group,SupplementaryGroups"]
    for unit in subprocess.run(show, capture_output=True, text=True, check=True).stdout.split("\n\n"):
        has = dict(line.split("=", 1) for line in unit.splitlines() if line)
        if has.get("User", "") not in ("", "0"):
            names = f"{has.get('Group', '')} {has.get('SupplementaryGroups', '')}".split()
            found[pwd.getpwnam(has["User"]).pw_uid] |= {numbers[name] for name in names}
    return found


def sockets() -> set[str]:
    """Bound sockets that a connection can be made to, and socket files of whatever state."""
    found = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split(maxsplit=7)
        if len(words) == 8 and (int(words[3], 16) & _ACCEPTS or words[4] == _DATAGRAM):
            # Postfix binds by relative names in its queue directory.
            found.add(words[7] if words[7][0] in "/@" else _QUEUE + words[7])
    # Services with a network of their own are not in that list.
    find = ["find", "/", "/run", "/tmp", "/dev", "/var/tmp", "-xdev", "-type", "s"]  # noqa: S108
    # It complains about files that vanish as it looks.
    found.update(subprocess.run(find, capture_output=True, text=True, check=False).stdout.splitlines())
    # A link on the way names a socket twice. What systemd hides other files behind is no socket of anybody's.
    real = (path if path[0] == "@" else os.path.realpath(path) for path in found)
    return {path for path in real if "/inaccessible/" not in path}


def may_connect(path: str) -> bool:
    """Not refused for want of a right; whether it would answer is another question."""
    for kind in _KINDS:
        with socket.socket(socket.AF_UNIX, kind) as one:
            one.setblocking(False)
            try:
                one.connect("\0" + path[1:] if path[0] == "@" else path)
            except PermissionError:
                return False
            except OSError as error:
                if error.errno == errno.EPROTOTYPE:
                    continue
        return True
    return True


def opened(user: str, has: set[int], paths: set[str]) -> list[str]:
    """Those of the paths that a child which becomes this user may connect to."""
    entry = pwd.getpwnam(user)
    read, write = os.pipe()
    if os.fork() == 0:
        os.setgroups(sorted(has | set(os.getgrouplist(user, entry.pw_gid))))
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        with os.fdopen(write, "w") as out:
            json.dump([path for path in sorted(paths) if may_connect(path)], out)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        found: list[str] = json.load(told)
    os.wait()
    return found


if __name__ == "__main__":
    all_groups, all_sockets = groups(), sockets()
    by_user = {
        user: opened(user, all_groups[pwd.getpwnam(user).pw_uid], all_sockets)
        for user in json.loads(sys.argv[1])
    }
    print(json.dumps({"sockets": sorted(all_sockets), "opened": by_user}))
