"""One of our applications under a real gunicorn, with our settings and a socket as systemd would pass it.

The socket listens before gunicorn starts, so whoever connects waits and nobody has to poll.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Whatever the machine has: what one process knows and the other doesn't is then noticed.
TWO_PROCESSES = ("--workers", "2")
_DEADLINE = 120.0  # seconds, for whatever should take milliseconds

# sd_listen_fds(3): the first socket is descriptor 3, and LISTEN_PID is whoever is to take it.
_PASS_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class WholeAnswer:
    """An HTTP answer, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def first_line(self) -> str:
        """The first line of the body."""
        return self.body.partition(b"\n")[0].strip().decode("ascii")

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Served:
    """An application that is being served at a unix socket."""

    def __init__(self, path: Path, log: Path, pid: int) -> None:
        self._path = path
        self._log = log
        self._pid = pid

    @property
    def log(self) -> str:
        """What was written to stderr so far."""
        return self._log.read_text()

    @property
    def peak_memory(self) -> int:
        """The most octets of RAM that any of its workers ever had (VmHWM of proc(5))."""
        return self._most("VmHWM")

    @property
    def own_memory(self) -> int:
        """The octets of RAM that are not of files, of the worker with the most (RssAnon of proc(5))."""
        return self._most("RssAnon")

    def _most(self, field: str) -> int:
        workers = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        statuses = [Path(f"/proc/{worker}/status").read_text() for worker in workers]
        return max(
            int(found[1]) * 1024 for one in statuses if (found := re.search(rf"{field}:\s*(\d+) kB", one))
        )

    def connect(self) -> socket.socket:
        """A fresh connection."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_DEADLINE)
        connection.connect(str(self._path))
        return connection

    def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] | None = None,
    ) -> WholeAnswer:
        """Ask; a body that is not bytes goes chunked. Headers may repeat."""
        client = http.client.HTTPConnection("relay.example", timeout=_DEADLINE)
        client.sock = self.connect()
        try:
            client.putrequest(method, path)
            for name, value in headers:
                client.putheader(name, value)
            if body is None or isinstance(body, bytes):
                client.putheader("Content-Length", str(len(body or b"")))
                client.endheaders(body)
            else:
                client.putheader("Transfer-Encoding", "chunked")
                client.endheaders(body, encode_chunked=True)
            response = client.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return WholeAnswer(response.status, fields, response.read())
        finally:
            client.close()


@contextmanager
def served(
    application: str,
    directory: Path,
    environment: dict[str, str],
    arguments: Sequence[str] = TWO_PROCESSES,
) -> Iterator[Served]:
    """Serve `module:factory()` with everything it needs in `environment`.

    `arguments`: of gunicorn.
    """
    path, log = directory / "app.sock", directory / "app.log"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(128)
    command = [sys.executable, "-m", "gunicorn", "-c", "python:mxdeliv_app.serving.gunicorn_conf"]
    command += [*arguments, application]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", _PASS_SOCKET, str(listener.fileno()), *command],
            pass_fds=[listener.fileno()],
            stderr=stderr,
            env={**os.environ, **environment},
        )
    listener.close()
    try:
        yield Served(path, log, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_DEADLINE)
