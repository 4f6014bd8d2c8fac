"""Sockets in a host's network namespace, for servers that the tests themselves play there.

A socket belongs for ever to the namespace that its thread was in when it was made (setns(2)).
"""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from tests.lab.plan import Host

_CLONE_NEWNET = 0x40000000  # sched.h; os.setns is there from Python 3.12 on


def bound(
    host: Host, port: int, kind: socket.SocketKind = socket.SOCK_STREAM, *, address: str | None = None
) -> socket.socket:
    """A socket at the host's address (IPv4, unless another is given) and this port; for TCP it listens."""
    # A thread of its own, which is never used again: it stays in the namespace.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_bound_in, host, address or host.ip, port, kind).result()


def _bound_in(host: Host, address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    with open(f"/run/netns/{host.netns}", "rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace.name)
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    if kind is socket.SOCK_STREAM:
        made.listen()
    return made
