"""Deliveries that Dovecot reports to a program of ours: by HTTP, from an event_exporter, at a secret URL.

The path is secret, because any local user can connect; requests to other paths are ignored. Octets per
request, time to wait for data, and threads are limited. Further connections wait in the listen queue.

This module itself parses the head of a request, because http.server took more time for an event than all else
together. It understands what Dovecot sends and no more: a POST with a Content-Length.
https://www.rfc-editor.org/rfc/rfc9112
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
from concurrent.futures import ThreadPoolExecutor
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
_MOST_DIGITS = 7
# Dovecot sends eight fields, all short.
_MOST_FIELDS = 50
_LONGEST_LINE = 8192  # octets
# One connection per event. Dovecot does not repeat a POST, so an event sent on a kept connection that a
# restart is closing would be lost, while a new connection waits in the listen queue.
_ANSWER = b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

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


class Listener(socketserver.TCPServer):
    """Serves an open listening socket, each connection in a thread, at most `AT_ONCE`."""

    def __init__(self, listening: socket.socket, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._places = threading.BoundedSemaphore(AT_ONCE)
        # Not a thread for each connection: to start one costs as much as to read the event.
        self._threads = ThreadPoolExecutor(AT_ONCE)

    def start(self) -> None:
        """Starts serving, in a thread."""
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """Accepts no more connections, and waits until the present ones end."""
        self.shutdown()
        self.server_close()

    def server_close(self) -> None:
        """Closes the socket, and waits until the present connections end."""
        super().server_close()
        self._threads.shutdown()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Waits until fewer than `AT_ONCE` connections are open, then serves this one."""
        self._places.acquire()
        self._threads.submit(self._serve, request, client_address)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
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

    secret = path.encode()

    class Handler(socketserver.StreamRequestHandler):
        timeout = SILENCE

        def handle(self) -> None:
            self.wfile.write(_ANSWER % self._status())

        def _status(self) -> bytes:
            request, length = self._head()
            if len(request) != 3 or request[0] != b"POST":
                return b"400 Bad Request"
            if not hmac.compare_digest(request[1], secret):
                return b"404 Not Found"
            if not length.isdigit() or len(length) > _MOST_DIGITS or int(length) > _LARGEST_DELIVERY:
                return b"413 Content Too Large"
            # A subject may have octets of any encoding.
            body = self.rfile.read(int(length)).decode("utf-8", "replace")
            try:
                delivery = msgspec.json.decode(body, type=_Event).fields
            except (msgspec.DecodeError, RecursionError):
                return b"400 Bad Request"
            delivered(delivery)
            return b"204 No Content"

        def _head(self) -> tuple[list[bytes], bytes]:
            """The words of the first line, none if the head is too long; and the length of the body."""
            request, length = self.rfile.readline(_LONGEST_LINE).split(), b""
            for _ in range(_MOST_FIELDS):
                name, colon, value = self.rfile.readline(_LONGEST_LINE).partition(b":")
                if not colon:
                    return request, length
                if name.lower() == b"content-length":
                    length = value.strip()
            return [], b""

    return Listener(listening, Handler)
