"""The installed `mxdeliv-relay` and what it talks to: DNS, HTTPS peers, and a port that stands for Postfix.

All on loopback. Peers have addresses of their own in 127.0.0.0/8 and listen on port 443, as peers do, so
the tests that need one are skipped where that port may not be bound.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from chatmail_milter.store.endpoint_hosts import EndpointHosts
from chatmail_milter.store.engine import open_store
from tests.blackbox.certificate import make_certificate
from tests.blackbox.relay.dns_server import Dns
from tests.blackbox.relay.reinject import Reinject, ReinjectSink
from tests.chat.deadline import until

BIN = Path(sys.executable).parent
MESSAGE = b"From: a@_here.test\r\nSubject: [...]\r\n\r\nHello\r\n"

# Sockets become descriptors from 3 on, as systemd passes them (sd_listen_fds(3)).
_LAUNCH = """
import os, sys
for number in (3, 4, 5, 6):
    os.dup2(int(sys.argv[number - 2]), number)
names = "lmtp:https-only:recipient-policy:dns-filter"
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="4", LISTEN_FDNAMES=names)
os.execv(sys.argv[5], sys.argv[5:])
"""


@dataclass
class SeenPost:
    """A POST that a peer saw."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


Script = Callable[[SeenPost], tuple[int, dict[str, str], bytes]]


def accept_all(_seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "text/plain"}, b"250 2.0.0 OK\r\n"


def refuse_the_empty(_seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
    """What every chatmail server says, in its own words, to a POST without recipients."""
    return 400, {"Content-Type": "text/plain"}, b"501 5.5.4 Syntax error: X-Mail-To: names no recipient\r\n"


def answer(status: int, body: bytes = b"", **headers: str) -> Script:
    """A script that always answers the same."""
    return lambda _seen: (status, {key.replace("_", "-"): value for key, value in headers.items()}, body)


class ScriptedPeer:
    """An HTTPS server at `address`:443 whose answers `script` gives.

    A POST without recipients is in `probes` and gets the answer of `proof`; None: that of `script` too.
    """

    def __init__(self, address: str, certificate: Path) -> None:
        self.script: Script = accept_all
        self.proof: Script | None = refuse_the_empty
        self.seen: list[SeenPost] = []
        self.probes: list[SeenPost] = []
        self.connections = 0
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                seen = SeenPost(self.path, list(self.headers.items()), body)
                is_probe = not seen.values("X-Mail-To")
                (peer.probes if is_probe else peer.seen).append(seen)
                script = peer.proof if is_probe and peer.proof is not None else peer.script
                status, headers, content = script(seen)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, Any]:
                # The handshake is done by the thread that serves: a failed one must not end this one.
                plain, client = super().get_request()
                peer.connections += 1
                return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), client

            def handle_error(self, *_arguments: object) -> None:
                pass  # clients that refuse our certificate are what some tests are about

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server = Server((address, 443), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


# The second is longer than the first, so that it is certain which of them ends an attempt. Both are longer
# than a peer takes to shake hands and to answer on a busy machine.
HASTY = {"connect_timeout": '"4s"', "attempt_timeout": '"8s"'}


class InstalledRelay:
    """All of it; the relay can be started, stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.dns = Dns()
        self.sink = ReinjectSink()
        self.peers: list[ScriptedPeer] = []
        self.process: subprocess.Popen[str] | None = None
        self.program = [str(BIN / "mxdeliv-relay")]
        self.lmtp_path = str(directory / "relay.sock")
        self._smtp = Reinject(self.sink)
        self.reinject_port: int = self._smtp.port
        self._smtp.start()
        self._lmtp = socket.socket(socket.AF_UNIX)
        self._lmtp.bind(self.lmtp_path)
        self._lmtp.listen(64)
        self._https_only = socket.create_server(("127.0.0.1", 0))
        self.https_only_port: int = self._https_only.getsockname()[1]
        self.policy_path = str(directory / "recipient-policy.sock")
        self._policy = socket.socket(socket.AF_UNIX)
        self._policy.bind(self.policy_path)
        self._policy.listen(64)
        self.dns_filter_path = str(directory / "dns-filter.sock")
        self._dns_filter = socket.socket(socket.AF_UNIX)
        self._dns_filter.bind(self.dns_filter_path)
        self._dns_filter.listen(64)
        self.config = directory / "chatmail.toml"
        self.environment = os.environ | {"CHATMAIL_CONFIG": str(self.config)}
        self.configure()

    def configure(self, mail: str = "", **relay: str) -> None:
        settings = {
            # No attempt ends by these because the machine is busy; `HASTY` is for peers that hang.
            "connect_timeout": '"60s"',
            "attempt_timeout": '"120s"',
            "allow_networks": '["127.0.0.0/29"]',
            "nameservers": f'["127.0.0.1@{self.dns.port}"]',
        } | relay
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        (self.directory / "store.sqlite").touch()
        self.config.write_text(
            f'[mail]\ndomain = "_here.test"\n{mail}\n[relay]\n{lines}\n'
            f'[listen]\nreinject = "127.0.0.1:{self.reinject_port}"\n'
            f'https_only = "127.0.0.1:{self.https_only_port}"\n'
            f'mailboxes = "{self.directory}/mailboxes.sock"\n'
            f'[store]\nurl = "sqlite:///{self.directory}/store.sqlite"\n'
        )

    def start(self) -> None:
        """Start the installed program; its listening sockets queue whoever comes before it is ready."""
        listening = (self._lmtp, self._https_only, self._policy, self._dns_filter)
        numbers = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 10) for one in listening]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *map(str, numbers), *self.program],
            env=self.environment,
            pass_fds=numbers,
            stderr=(self.directory / "relay.log").open("a"),
            text=True,
        )
        for number in numbers:
            os.close(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(120)
        self.process = None
        return code

    def prove(self, domain: str, host: str | None = None) -> None:
        """As if `host` (of the same name, if None) had just proved itself for `domain`."""
        engine = open_store(f"sqlite:///{self.directory}/store.sqlite")
        EndpointHosts(engine).proved(domain, host or domain, datetime.now(UTC))
        engine.dispose()

    @property
    def log(self) -> str:
        return (self.directory / "relay.log").read_text()

    def peer(self, address: str = "127.0.0.2", names: tuple[str, ...] = ("_peer.test",)) -> ScriptedPeer:
        """A peer whose domain `_peer.test` has no MX, only an address. Skips where 443 is not for us."""
        certificate = self.directory / f"{names[0]}.pem"
        make_certificate(certificate, names)
        try:
            peer = ScriptedPeer(address, certificate)
        except PermissionError:
            pytest.skip("peers listen on port 443, which may not be bound here")
        self.peers.append(peer)
        for name in names:
            self.dns.zone[name, "A"] = [address]
        return peer

    def ctl(self, *arguments: str) -> Any:
        """What `chatmailctl … --json` prints, decoded; None if it prints nothing."""
        done = subprocess.run(
            [BIN / "chatmailctl", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in arguments else None

    def text(self, *arguments: str) -> str:
        """What `chatmailctl …` prints for people."""
        command = [str(BIN / "chatmailctl"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    def peers_row(self, domain: str, road: str, attempts: int) -> dict[str, Any]:
        """The row of `chatmailctl peers`, once it counts that many; counts are written twice a second."""

        def row() -> dict[str, Any] | None:
            wanted = {"domain": domain, "road": road, "attempts": attempts}
            return next((one for one in self.ctl("peers", "--json") if wanted.items() <= one.items()), None)

        return until(f"{domain} by {road} comes to {attempts} attempts", row, 10)

    def shown(self, domain: str, when: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """What `peers show` says of `domain`, once `when` holds; counts are written twice a second."""

        def said() -> dict[str, Any] | None:
            # A domain of which nothing is counted yet is an error.
            arguments = [str(BIN / "chatmailctl"), "peers", "show", domain, "--json"]
            done = subprocess.run(
                arguments, env=self.environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                assert "nothing is known of" in done.stderr, done.stderr
                return None
            found: dict[str, Any] = json.loads(done.stdout)
            return found if when(found) else None

        return until(f"peers show {domain} says that", said, 10)

    def counted(self, domain: str) -> dict[str, Any]:
        """The same, once anything is counted: a delivery's marks and proofs are written before its counts."""
        return self.shown(domain, lambda peer: peer["roads"])

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for peer in self.peers:
            peer.close()
        self._smtp.stop()
        self.dns.close()
        self._lmtp.close()
        self._https_only.close()
        self._policy.close()
        self._dns_filter.close()


class Lmtp(smtplib.LMTP):
    """An LMTP client that hears an answer for each recipient (RFC 2033, 4.2)."""

    def deliver(
        self, *recipients: str, sender: str = "u@_here.test", content: bytes = MESSAGE
    ) -> list[tuple[int, str]]:
        """Answers in order: of RCPT where that refuses, else of the message."""
        self.ehlo_or_helo_if_needed()
        code, text = self.docmd(f"MAIL FROM:<{sender}> BODY=8BITMIME")
        if code != 250:
            return [(code, text.decode())] * len(recipients)
        found = [self.docmd(f"RCPT TO:<{recipient}>") for recipient in recipients]
        waiting = [index for index, (code, _) in enumerate(found) if code == 250]
        if waiting:
            # Once for the first that was accepted; the others' answers are read one by one.
            found[waiting[0]] = self.data(content)
            for index in waiting[1:]:
                found[index] = self.getreply()
        else:
            self.docmd("RSET")
        return [(code, text.decode()) for code, text in found]


@contextmanager
def running(relay: InstalledRelay) -> Iterator[InstalledRelay]:
    """With one peer, for as long as the block runs."""
    try:
        relay.peer()
        relay.start()
        yield relay
    finally:
        relay.close()


@contextmanager
def lmtp(relay: InstalledRelay, timeout: float = 180.0) -> Iterator[Lmtp]:
    """A connection to the relay, closed without ceremony: it may have gone."""
    client = Lmtp(relay.lmtp_path, timeout=timeout)
    try:
        yield client
    finally:
        client.close()


# For domains that no other test knows.
NUMBERS = itertools.count()


def deliver(relay: InstalledRelay, *recipients: str, **settings: str | bytes) -> list[tuple[int, str]]:
    with lmtp(relay) as client:
        return client.deliver(*recipients, **settings)  # type: ignore[arg-type]


def https_only(relay: InstalledRelay, *recipients: str) -> tuple[int, bytes]:
    with smtplib.SMTP("127.0.0.1", relay.https_only_port) as client:
        client.ehlo()
        client.mail("u@_here.test")
        for recipient in recipients:
            code, text = client.rcpt(recipient)
            if code != 250:
                return code, text
        return client.data(MESSAGE)
