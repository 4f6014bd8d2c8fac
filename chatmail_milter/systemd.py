"""Listening sockets that systemd has opened for us (sd_listen_fds(3)), by name."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_FIRST_FD = 3


class NotActivatedError(Exception):
    """No sockets were passed; the message says how the program is to be started."""


def sockets(environment: Mapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """The sockets passed to this process, by `FileDescriptorName=`. Raises `NotActivatedError`."""
    # The environment is inherited by children; LISTEN_PID says whom the sockets are for.
    if environment.get("LISTEN_PID") != str(os.getpid()):
        raise NotActivatedError("no sockets passed: start it by its systemd socket units")
    count = int(environment.get("LISTEN_FDS", "0"))
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found = {}
    for number in range(count):
        listening = socket.socket(fileno=_FIRST_FD + number)
        listening.set_inheritable(False)
        found[names[number] if number < len(names) else ""] = listening
    return found
