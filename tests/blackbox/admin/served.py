"""The admin pages as installed: gunicorn on a socket of systemd's, `chatmail-orders` for each order."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mxdeliv_app.admin.passwords import Role
from tests.blackbox.certificate import make_certificate

BIN = Path(sys.executable).parent


class RecordedOrders(threading.Thread):
    """What systemd does for `chatmail-orders`: `execute` has each connection as its input and output."""

    def __init__(self, path: Path, execute: Callable[[socket.socket], object]) -> None:
        super().__init__(daemon=True)
        self._execute = execute
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()

    def run(self) -> None:
        """Until the server is shut down."""
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                self._execute(connection)

    def end(self) -> None:
        """Stop."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def _as_a_process(environment: Mapping[str, str], connection: socket.socket) -> None:
    program = [str(BIN / "chatmail-orders")]
    subprocess.Popen(program, stdin=connection.fileno(), stdout=connection.fileno(), env=environment)


@contextmanager
def served(
    place: Path,
    hashes: Mapping[Role, str],
    environment: Mapping[str, str] = os.environ,
    execute: Callable[[socket.socket], object] | None = None,
    domain: str = "a.test",
    mail: str = "/var/vmail",
) -> Iterator[int]:
    """The port of the pages on localhost, by HTTPS.

    Their store is `store.sqlite` in `place`, their configuration `chatmail.toml`, and what they log is in
    `log` there. Each order is a process, unless `execute` does it.
    """
    config, passwords = place / "chatmail.toml", place / "passwords"
    store = f'[store]\nurl = "sqlite:///{place}/store.sqlite"\nmail = "{mail}"\n'
    config.write_text(f'[mail]\ndomain = "{domain}"\n{store}')
    passwords.write_text("".join(f"{role} {hashed}\n" for role, hashed in hashes.items()))
    make_certificate(place / "pem", ("localhost",))
    given = dict(environment) | {
        "CHATMAIL_CONFIG": str(config),
        "CHATMAIL_ADMIN_PASSWORDS": str(passwords),
        "CHATMAIL_ORDERS": str(place / "orders"),
        "LISTEN_FDS": "1",
    }
    orders = RecordedOrders(place / "orders", execute or partial(_as_a_process, given))
    orders.start()
    listening = socket.create_server(("127.0.0.1", 0))
    # As systemd passes a socket; see sd_listen_fds(3).
    start = "import os, sys; os.environ['LISTEN_PID'] = f'{os.getpid()}'; os.execv(sys.argv[1], sys.argv[1:])"
    gunicorn = [str(BIN / "gunicorn"), "--config", "python:mxdeliv_app.admin.gunicorn_conf"]

    def third() -> None:
        os.dup2(listening.fileno(), 3)

    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", start, *gunicorn, f"--certfile={place}/pem", f"--keyfile={place}/pem"],
            env=given, preexec_fn=third, close_fds=False, stderr=log, cwd=place,
        )  # fmt: skip
    try:
        yield listening.getsockname()[1]
    finally:
        process.terminate()
        process.wait(60)
        orders.end()
        listening.close()
