"""Deliveries that Dovecot reports to a program of ours: by HTTP, from an event_exporter, at a secret URL.

The path is secret, because any local user can connect; requests to other paths are ignored. Octets per
request, time to wait for data, and threads are limited. Further connections wait in the listen queue.
"""

from __future__ import annotations

import hmac
import logging
import socket
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

_SHORTEST = 32  # characters; the playbook makes 64
AT_ONCE = 32  # connections, on each socket
# Timeout for data. Dovecot sends its request at once, but any local user can connect to the port and stay
# silent.
SILENCE = 5.0  # seconds
# Octets. Dovecot sends all fields of the event, the subject too.
_LARGEST_DELIVERY = 1 << 20

_log = logging.getLogger(__name__)


def secret_path(program: str, file: Path) -> str:
    """The path of the URL in a file of one line; else one line on stderr and exit 78 (EX_CONFIG)."""
    try:
        path = urlsplit(file.read_text("ascii").strip()).path
    except (OSError, ValueError) as error:
        print(
            f"{program}: the URL for deliveries can't be read: {file}: {type(error).__name__}",
            file=sys.stderr,
        )
        sys.exit(78)
    if len(path) <= _SHORTEST:
        print(f"{program}: the path is too short: {file}: wants {_SHORTEST} characters", file=sys.stderr)
        sys.exit(78)
    return path


class DeliveryEvent(msgspec.Struct, frozen=True):
    """The fields of Dovecot's event that are used. `error`: not empty if the delivery failed."""

    user: str
    mail_from: str = ""
    message_from: str = ""
    error: str = ""

    @property
    def by_oneself(self) -> bool:
        """Whether the user sent the message, as apps do to sync their owner's other devices."""
        return self.user in (self.mail_from.lower(), self.message_from.lower())


class _Event(msgspec.Struct, frozen=True):
    fields: DeliveryEvent


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves an open listening socket, with one thread per connection, at most `AT_ONCE`."""

    daemon_threads = False

    def __init__(self, listening: socket.socket, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def start(self) -> None:
        """Starts serving, in a thread."""
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """Accepts no more connections, and waits until the present ones end."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Waits until fewer than `AT_ONCE` connections are open, then serves this one."""
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Ignores closed connections. Logs bugs with a traceback, but without the exception's message."""
        kind, _, trace = sys.exc_info()
        if kind is not None and not issubclass(kind, OSError):
            _log.error("event=bug error=%s\n%s", kind.__name__, "".join(traceback.format_tb(trace)))


def delivery_listener(
    listening: socket.socket, path: str, delivered: Callable[[DeliveryEvent], None]
) -> Listener:
    """A server for the events that Dovecot posts to the secret `path`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = SILENCE

        # The name is http.server's.
        def do_POST(self) -> None:
            self._answer(self._status())

        def _status(self) -> int:
            if not _is_secret(self.path, path):
                return 404
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _LARGEST_DELIVERY:
                return 413
            # A subject may have octets of any encoding.
            body = self.rfile.read(int(length)).decode("utf-8", "replace")
            try:
                delivery = msgspec.json.decode(body, type=_Event).fields
            except (msgspec.DecodeError, RecursionError):
                return 400
            delivered(delivery)
            return 204

        def _answer(self, status: int) -> None:
            self.send_response_only(status)
            self.send_header("Content-Length", "0")
            # One connection per event. Dovecot does not repeat a POST, so an event sent on a kept connection
            # that a restart is closing would be lost, while a new connection waits in the listen queue.
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Logs nothing: requests are about users."""

    return Listener(listening, Handler)


def _is_secret(path: str, secret: str) -> bool:
    """Whether `path` is the secret one. Compares in constant time."""
    return hmac.compare_digest(path.encode("utf-8", "replace"), secret.encode())
