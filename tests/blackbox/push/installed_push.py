"""The installed `chatmail-push` and what it talks to: Dovecot's side of its sockets, an anvil, a gateway.

All on loopback. The gateway's certificate is trusted by this `chatmail-push` only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.push import Notices
from tests.blackbox.certificate import make_certificate
from tests.blackbox.relay.installed_relay import BIN
from tests.chat.deadline import until
from tests.chat.gateway import Gateway

_DEADLINE = 120.0  # seconds, for whatever should take milliseconds
SECRET_PATH = "/" + "5ec2e7" * 8

# Sockets become descriptors 3 and 4, as systemd passes them (sd_listen_fds(3)).
_LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="metadata:deliveries")
os.execv(sys.argv[3], sys.argv[3:])
"""


class Anvil:
    """Dovecot's anvil, as 2.3.19 answers `CONNECT-DUMP`."""

    def __init__(self, path: Path) -> None:
        self.connected: set[str] = set()
        self.asked = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(64)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                octets = b""
                while not octets.endswith(b"CONNECT-DUMP\n"):
                    octets += connection.recv(1024)
                assert octets == b"VERSION\tanvil\t1\t0\nCONNECT-DUMP\n"
                self.asked += 1
                lines = [f"imap/198.51.100.7/{one}\t53\t2\n" for one in sorted(self.connected)]
                connection.sendall("".join([*lines, "lmtp/nobody12@a.test\t7\t1\n", "\n"]).encode())

    def close(self) -> None:
        """Once more does no harm."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


class InstalledPush:
    """All of it; the program can be started, stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate = directory / "gateway.pem"
        make_certificate(self.certificate, ("localhost",))
        self.gateway = self.new_gateway()
        self.anvil = Anvil(directory / "anvil.sock")
        self.program: subprocess.Popen[bytes] | None = None
        self._metadata = socket.socket(socket.AF_UNIX)
        self._metadata.bind(str(directory / "metadata.sock"))
        self._metadata.listen(64)
        self._deliveries = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._deliveries.getsockname()[1]}{SECRET_PATH}"
        (directory / "push.url").write_text(self.url)
        self.store = f"sqlite:///{directory}/store.sqlite"
        engine = open_store(self.store)
        self.accounts, self._notices = Accounts(engine), Notices(engine)
        self.configure()

    def configure(self, **push: str) -> None:
        settings = {
            "gateway": f"https://localhost:{self.gateway.port}/notify?v=1",
            "timeout": "60s",  # none is late because the machine is busy
            "retry": "50ms",
        } | push
        lines = "\n".join(f'{name} = "{value}"' for name, value in settings.items())
        (self.directory / "chatmail.toml").write_text(
            f'[mail]\ndomain = "a.test"\n[push]\n{lines}\n[store]\nurl = "{self.store}"\n'
            f'[listen]\nconnections = "{self.directory}/anvil.sock"\n'
            '[metadata]\ndeltachat = { irohrelay = "https://iroh.test/" }\n'
        )

    def start(self) -> None:
        """Start the installed program; its sockets hold whoever comes before it is ready."""
        self._earlier = len(self.log)
        listening = (self._metadata, self._deliveries)
        numbers = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 10) for one in listening]
        self.program = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *map(str, numbers), str(BIN / "chatmail-push")],
            env=os.environ
            | {
                "CHATMAIL_CONFIG": str(self.directory / "chatmail.toml"),
                "CHATMAIL_PUSH_URL": str(self.directory / "push.url"),
                "SSL_CERT_FILE": str(self.certificate),
            },
            pass_fds=numbers,
            stderr=(self.directory / "push.log").open("ab"),
        )
        for number in numbers:
            os.close(number)

    def new_gateway(self, port: int = 0, certificate: Path | None = None) -> Gateway:
        """One that is trusted, or has another certificate."""
        return Gateway(socket.create_server(("127.0.0.1", port)), certificate or self.certificate)

    def restart(self, **push: str) -> None:
        """With these settings."""
        self.stop()
        self.configure(**push)
        self.start()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code. SIGTERM is sent once the program handles it; before, it would end by the signal."""
        assert self.program is not None
        if number is signal.SIGTERM:
            until("the program is ready", lambda: "event=ready" in self.log[self._earlier :], _DEADLINE)
        self.program.send_signal(number)
        code = self.program.wait(_DEADLINE)
        self.program = None
        return code

    @property
    def log(self) -> str:
        path = self.directory / "push.log"
        return path.read_text() if path.exists() else ""

    @property
    def peak_memory(self) -> int:
        """The most octets of RAM that the program ever had."""
        assert self.program is not None
        status = Path(f"/proc/{self.program.pid}/status").read_text()
        found = re.search(r"VmHWM:\s*(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def someone(self, address: str, *tokens: str) -> str:
        """An account with these tokens."""
        assert self.accounts.create(address, "{PLAIN}x")
        for token in tokens:
            assert self.give(address, token) == b"O1\n"
        return address

    def dict(self, *lines: bytes) -> bytes:
        """What is said to these lines, until the answer's first line is whole or the connection is closed."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_DEADLINE)
            connection.connect(str(self.directory / "metadata.sock"))
            connection.sendall(b"H3\t2\t0\t\tmetadata\n" + b"\n".join(lines) + b"\n")
            with connection.makefile("rb") as answers:
                return answers.readline()

    def give(self, address: str, token: str) -> bytes:
        """SETMETADATA INBOX (/private/devicetoken …), as Dovecot 2.3.19 says it."""
        key = "priv/07d222018497036b2400000083ecc375/devicetoken"
        return self.dict(f"B1\t{address}".encode(), f"S1\t{key}\t{token}".encode(), b"C1")

    def tokens(self, address: str) -> set[str]:
        """GETMETADATA INBOX /private/devicetoken."""
        key = "priv/07d222018497036b2400000083ecc375/devicetoken"
        told = self.dict(f"L{key}\t{address}".encode()).decode().strip()
        return set(told.removeprefix("O").split()) if told.startswith("O") else set()

    def deliver(self, address: str, sender: str = "bob12345@b.test", **fields: Any) -> int:
        """Dovecot tells of a delivery; the status of the answer."""
        event = {
            "event": "mail_delivery_finished",
            "fields": {
                "user": address,
                "mail_from": sender,
                "message_from": sender,
                "message_subject": "[...]",
                "message_size": 746,
                **fields,
            },
        }
        return self.post(json.dumps(event).encode())

    def settled(self) -> list[str]:
        """All that the gateway was told, once there is nothing more to tell."""
        until("all is told", lambda: self._notices.count() == 0, _DEADLINE, every=0.02)
        return sorted(self.gateway.told)

    def connect(self) -> socket.socket:
        """To the socket for deliveries, as any local user can."""
        return socket.create_connection(self._deliveries.getsockname(), _DEADLINE)

    def post(self, body: bytes, url: str | None = None) -> int:
        """Anything, posted; the status of the answer."""
        return requests.post(url or self.url, data=body, timeout=_DEADLINE).status_code

    def close(self) -> None:
        if self.program is not None:
            self.program.kill()
            self.program.wait()
        self.gateway.close()
        self.anvil.close()
        self._metadata.close()
        self._deliveries.close()


@contextlib.contextmanager
def discreet(directory: Path) -> Iterator[InstalledPush]:
    """A running program, whose log names nobody and no token when it has ended well."""
    push = InstalledPush(directory)
    push.start()
    yield push
    assert "token" not in push.log
    assert "@" not in push.log
    assert "event=bug" not in push.log
    push.close()
