"""The socket that systemd opened for us, put under a library that only knows how to open its own.

libmilter can't be given a listening socket. But it opens one before it listens on it, and a descriptor
is only a number: it is told to open a socket nobody knows of, and the inherited one is then put in that
one's place (dup2). Protocol of inheritance: sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from chatmail_milter import systemd

# SD_LISTEN_FDS_START.
_FIRST = 3


class ListenError(Exception):
    """What was inherited is not one listening stream socket."""


def inherited() -> int | None:
    """The descriptor of the one socket that we inherited, None if there is none. Raises `ListenError`."""
    count = os.environ.pop("LISTEN_FDS", None)
    meant_for = os.environ.pop("LISTEN_PID", None)
    os.environ.pop("LISTEN_FDNAMES", None)
    if count is None or meant_for != str(os.getpid()):
        return None
    if count != "1":
        raise ListenError(f"wants one socket, was given {count}")
    try:
        with _borrowed(_FIRST) as given:
            listens = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        listens = 0
    if not listens:
        raise ListenError(f"descriptor {_FIRST} is no listening socket")
    return _FIRST


def at(path: str) -> int:
    """The descriptor of a new socket that listens at `path`. Raises `ListenError`."""
    try:
        return systemd.opened(f"unix:{path}").detach()
    except systemd.NotActivatedError as error:
        raise ListenError(str(error).removeprefix("can't listen at ")) from None


def substitute(descriptor: int, open_at: Callable[[str], None]) -> None:
    """Puts `descriptor` in the place of the socket that `open_at` opens at the path it is given.

    `descriptor` is closed; nothing is left of the path. Raises `ListenError` if no socket was opened there.
    """
    # As short as can be: a socket's path has at most 107 octets.
    with tempfile.TemporaryDirectory(prefix="m", dir=os.environ.get("RUNTIME_DIRECTORY")) as directory:
        path = f"{directory}/s"
        open_at(path)
        os.dup2(descriptor, _opened(path), inheritable=False)
    os.close(descriptor)


def _opened(path: str) -> int:
    """The descriptor of our socket that is bound to `path`."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError), _borrowed(int(entry.name)) as candidate:
            if candidate.family == socket.AF_UNIX and candidate.getsockname() == path:
                return int(entry.name)
    raise ListenError("the library opened no socket")


@contextlib.contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """A socket object for `descriptor`, which stays open. Raises `OSError` if it is no socket."""
    borrowed = socket.socket(fileno=os.dup(descriptor))
    try:
        yield borrowed
    finally:
        borrowed.close()
