"""Which Debian release this machine runs: a package is for the release that it is built on.

Names of Debian 12's files have no release in them. Those of Debian 13's end in `-13`, so that both fit into
dist/. Its version is the later one: apt upgrades to it with the host.
"""

from __future__ import annotations

import os
import platform

_SYSTEM = platform.freedesktop_os_release()
CODENAME = _SYSTEM.get("VERSION_CODENAME", "unstable")
_FIRST = "12"
NUMBER = _SYSTEM.get("VERSION_ID") or _FIRST

SUFFIX = "" if NUMBER == _FIRST else f"-{NUMBER}"
REVISION = "" if NUMBER == _FIRST else f"+deb{NUMBER}"
# pymilter is compiled here, against this one.
LIBC = (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
