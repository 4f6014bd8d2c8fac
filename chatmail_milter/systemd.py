"""Listening sockets by name, passed by systemd (sd_listen_fds(3)) or opened for `--listen`; and the log.

`substitute` puts a socket under a library that only knows how to open its own.
"""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

_FIRST_FD = 3
# Postfix's processes, one connection each, may all connect at once after its restart.
_BACKLOG = 1024
# The group that may connect to a socket opened here: that of Postfix's programs.
_GROUP = "postfix"


class NotActivatedError(Exception):
    """The required sockets were not passed. The message tells the operator how to start the program."""


def log_to_stderr() -> None:
    """Logs to stderr, from INFO on; the journal adds the time."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="level=%(levelname)s %(message)s")


def activated(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether systemd passed sockets to this process."""
    # Children inherit the environment; LISTEN_PID is the process that the sockets are for.
    return environment.get("LISTEN_PID") == str(os.getpid())


def sockets(environment: Mapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """The sockets passed to this process, by `FileDescriptorName=`. Raises `NotActivatedError`."""
    if not activated(environment):
        raise NotActivatedError(
            "no sockets passed: start it by its systemd socket units, or tell it to --listen (--help)"
        )
    count = int(environment.get("LISTEN_FDS", "0"))
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found = {}
    for number in range(count):
        try:
            listening = socket.socket(fileno=_FIRST_FD + number)
            listens = listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            listens = 0
        if not listens:
            raise NotActivatedError(f"descriptor {_FIRST_FD + number} is no listening socket")
        listening.set_inheritable(False)
        found[names[number] if number < len(names) else ""] = listening
    return found


def listening(
    given: Sequence[str], required: Collection[str], optional: Collection[str] = ()
) -> dict[str, socket.socket]:
    """The sockets in `given`, values of `--listen` (`NAME=unix:PATH` or `NAME=HOST:PORT`), else systemd's.

    A program with a single socket needs no NAME, and accepts any name from systemd. Raises
    `NotActivatedError`.
    """
    only = next(iter(required)) if len(required) == 1 and not optional else ""
    found = {}
    for one in given:
        name, named, where = one.rpartition("=")
        found[name if named else only] = opened(where)
    if not found:
        found = sockets()
        if only and len(found) == 1:
            return {only: next(iter(found.values()))}
    wanted = [name for name in required if name not in found]
    unknown = [name or "one without a name" for name in found if name not in {*required, *optional}]
    if wanted or unknown:
        others = f" (there may be: {', '.join(sorted(optional))})" if optional else ""
        names = ", ".join(sorted(required))
        raise NotActivatedError(f"sockets must be named {names}{others}, not {', '.join(found)}")
    return found


def listening_or_exit(
    program: str, given: Sequence[str], required: Collection[str], optional: Collection[str] = ()
) -> dict[str, socket.socket]:
    """As `listening`; without the sockets, one line on stderr and exit 78 (EX_CONFIG)."""
    try:
        return listening(given, required, optional)
    except NotActivatedError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(78)


def opened(where: str) -> socket.socket:
    """A new listening socket at `unix:PATH` or `HOST:PORT`. Raises `NotActivatedError`.

    For a path: replaces a stale socket, and lets Postfix's group connect, if this process may change the
    group.
    """
    kind, _, path = where.partition(":")
    try:
        if kind == "unix" and path:
            return _opened_at(path)
        host, _, port = where.rpartition(":")
        if not host or not port.isdecimal():
            raise NotActivatedError(f"--listen {where}: wants unix:PATH or HOST:PORT")
        return socket.create_server((host.strip("[]"), int(port)), backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise NotActivatedError(
            f"can't listen at {where}: {getattr(error, 'strerror', None) or error}"
        ) from None


def _opened_at(path: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    try:
        found.connect(path)
    except ConnectionRefusedError:
        Path(path).unlink()
    except OSError:
        pass  # none there, or not a socket: then bind raises
    else:
        raise NotActivatedError(f"can't listen at unix:{path}: another program does")
    finally:
        found.close()
    found = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)
    try:
        found.bind(path)
    finally:
        os.umask(before)
    # Without Postfix, or without the right to change the group, the socket keeps the group of this process.
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(_GROUP).gr_gid)
    found.listen(_BACKLOG)
    return found


def substitute(listening: socket.socket, open_at: Callable[[str], None]) -> None:
    """Puts `listening` in the place of the socket that `open_at` opens at the path it is given.

    libmilter can't be given a socket. But it opens one before it listens on it, here at a path that nobody
    else knows, and a descriptor is only a number: `listening` takes it over (dup2). Nothing is left of the
    path. Closes `listening`. Raises `NotActivatedError` if no socket was opened there.
    """
    # As short as can be: a socket's path has at most 107 octets.
    with tempfile.TemporaryDirectory(prefix="m", dir=os.environ.get("RUNTIME_DIRECTORY")) as directory:
        path = f"{directory}/s"
        open_at(path)
        os.dup2(listening.fileno(), _bound_to(path), inheritable=False)
    listening.close()


def _bound_to(path: str) -> int:
    """The descriptor of our socket that is bound to `path`."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as candidate:
            if candidate.family == socket.AF_UNIX and candidate.getsockname() == path:
                return int(entry.name)
    raise NotActivatedError("the library opened no socket")
