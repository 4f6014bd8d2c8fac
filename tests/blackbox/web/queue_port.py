"""A scripted SMTP server in place of Postfix, which keeps every octet that it reads.

`script` maps the beginning of a command, or `.` for the end of the data, to a reply; `None` hangs up, and a
function is called and its reply taken. What it does not name is answered as Postfix answers. DATA is read as
strictly as RFC 5321 has it.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Script = dict[str, "str | Callable[[], str | None] | None"]

_EXTENSIONS = (
    "PIPELINING",
    "SIZE 31457280",
    "XCLIENT NAME ADDR PROTO HELO",
    "ENHANCEDSTATUSCODES",
    "8BITMIME",
)
_DEFAULTS = {
    "XCLIENT": "220 test ESMTP",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 End data with <CR><LF>.<CR><LF>",
    ".": "250 2.0.0 Ok: queued as 4ABC",
    "QUIT": "221 2.0.0 Bye",
}


@dataclass
class SmtpConversation:
    """What one client said: its commands, and the data of each message that had its end, as it was sent."""

    connection: socket.socket
    commands: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)

    def sent_by(self) -> list[tuple[bytes, str]]:
        """Each message, with the address that XCLIENT had told last."""
        peers: list[str] = []
        peer = ""
        for command in self.commands:
            if command.startswith("XCLIENT "):
                peer = command.split(" ")[1].removeprefix("ADDR=")
            elif command == "DATA":
                peers.append(peer)
        return list(zip(self.messages, peers, strict=True))

    def hang_up(self, last_words: bytes = b"") -> None:
        """End the connection, as Postfix does when it is stopped or has waited long enough."""
        with contextlib.suppress(OSError):  # the client was faster
            self.connection.sendall(last_words)
            self.connection.shutdown(socket.SHUT_RDWR)


class QueuePort:
    """The server, on a loopback port of its own; a context manager."""

    def __init__(self, script: Script | None = None, extensions: tuple[str, ...] = _EXTENSIONS):
        self.script: Script = script or {}
        self.extensions = extensions
        self.conversations: list[SmtpConversation] = []
        port = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # the client hung up: then it is over
                    port._talk(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = False
            block_on_close = True
            allow_reuse_address = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def endpoint(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self.afresh()
        self._server.server_close()
        self._thread.join()

    def afresh(self) -> None:
        """Hang up on everybody, and forget the script and what was said."""
        self.script = {}
        for one in self.conversations:
            one.hang_up()
        self.conversations.clear()

    def messages(self) -> list[bytes]:
        """The data of every message that had its end, as it was sent."""
        return [message for one in self.conversations for message in one.messages]

    def said(self, verb: str) -> list[str]:
        """All commands that begin so, of all conversations."""
        return [command for one in self.conversations for command in one.commands if command.startswith(verb)]

    def _reply_to(self, command: str) -> str | None:
        for beginning, reply in self.script.items():
            if command.startswith(beginning):
                return reply() if callable(reply) else reply
        if command.startswith("EHLO"):
            lines = ["test", *self.extensions]
            return "\r\n".join(f"250{'-' if line != lines[-1] else ' '}{line}" for line in lines)
        return next(
            (reply for verb, reply in _DEFAULTS.items() if command.startswith(verb)), "500 5.5.2 What?"
        )

    def _talk(self, handler: socketserver.StreamRequestHandler) -> None:
        conversation = SmtpConversation(handler.connection)
        self.conversations.append(conversation)
        greeting = self.script.get("", "220 test ESMTP")
        if greeting is None:
            return
        assert isinstance(greeting, str)
        handler.wfile.write(greeting.encode() + b"\r\n")
        for line in handler.rfile:
            command = line.removesuffix(b"\r\n").decode("utf-8")
            conversation.commands.append(command)
            reply = self._reply_to(command)
            if reply is None:
                return
            handler.wfile.write(reply.encode() + b"\r\n")
            if command == "QUIT":
                return
            if reply.startswith("354") and not self._take_data(handler, conversation):
                return

    def _take_data(self, handler: socketserver.StreamRequestHandler, conversation: SmtpConversation) -> bool:
        received: list[bytes] = []
        for line in handler.rfile:
            if line == b".\r\n":
                conversation.messages.append(b"".join(received))
                reply = self._reply_to(".")
                if reply is not None:
                    handler.wfile.write(reply.encode() + b"\r\n")
                return reply is not None
            received.append(line)
        return False
