"""Starts `mxdeliv-app` under gunicorn, with two scripted SMTP servers in place of Postfix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.blackbox.served import TWO_PROCESSES, Served, WholeAnswer, served
from tests.blackbox.web.queue_port import QueuePort

ALICE, BOB, CAROL = "alice123@a.example", "bob12345@a.example", "carol123@a.example"
SENDER = "dave1234@b.example"
PEER = "203.0.113.7"
MESSAGE = b"From: <dave1234@b.example>\r\nSubject: ...\r\n\r\nhello\r\n"
JSON = ("Accept", "application/json, text/plain")
# What a peer may send, and by how much it is more than what a user may.
MAX, MORE_THAN_USERS = 2 << 20, 1 << 20


def head(*fields: str, version: str = "1.1", to: str = ALICE) -> bytes:
    """The head of a POST from octet to octet, with these fields after the usual ones."""
    usual = ["Host: a.example", f"X-Real-IP: {PEER}", f"X-Mail-From: {SENDER}", f"X-Mail-To: {to}"]
    lines = [f"POST /mxdeliv HTTP/{version}", *usual, *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


@dataclass
class Receiver:
    """The application, and the two ports of Postfix that it talks to."""

    app: Served
    inject: QueuePort
    mixed: QueuePort

    def post(
        self,
        *recipients: str,
        body: bytes | Iterator[bytes] = MESSAGE,
        sender: str | None = SENDER,
        headers: Sequence[tuple[str, str]] = (),
        peer: str = PEER,
        path: str = "/mxdeliv",
    ) -> WholeAnswer:
        """POST a message as nginx passes it on; `sender` None leaves X-Mail-From out."""
        fields = [("X-Real-IP", peer), *(("X-Mail-To", one) for one in recipients), *headers]
        if sender is not None:
            fields.append(("X-Mail-From", sender))
        return self.app.request("POST", path, fields, body)

    def say(self, octets: bytes, *, end: bool = True) -> bytes:
        """Everything that is answered to these octets on a connection of their own; `end` ends our side."""
        with self.app.connect() as connection:
            connection.sendall(octets)
            if end:
                connection.shutdown(1)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def receiving(
    directory: Path, largest: int = MAX, arguments: Sequence[str] = TWO_PROCESSES
) -> Iterator[Receiver]:
    """A receiver of its own, with its files in `directory`."""
    with QueuePort() as inject, QueuePort() as mixed:
        ports = [f"{name} = '{port.endpoint[0]}:{port.endpoint[1]}'" for name, port in
                 (("inject", inject), ("mixed", mixed))]  # fmt: skip
        mail = [
            "[mail]",
            "domain = 'a.example'",
            "port_443 = true",
            f"max_message_size = '{largest - MORE_THAN_USERS}B'",
        ]
        config = directory / "chatmail.toml"
        # Other things run on the machine that tests run on.
        limits = ["[limits]", "load = 0", "memory = '0B'", "disk = '0B'"]
        config.write_text("\n".join([*mail, *limits, "[listen]", *ports, ""]))
        environment = {"CHATMAIL_CONFIG": str(config)}
        with served("mxdeliv_app.web.app:app_from_environment()", directory, environment, arguments) as app:
            yield Receiver(app, inject, mixed)
