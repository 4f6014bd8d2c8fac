"""The two sockets that Dovecot speaks to: METADATA (dict protocol), and deliveries (HTTP, an event_exporter).

Bounded in what is read, for how long it is waited for, and in threads: who comes then waits in the socket.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import msgspec

from mxdeliv_app.dovecot.secret_url import is_told
from mxdeliv_app.push.dict_protocol import Dialogue, DialogueError, EntryStore

AT_ONCE = 32  # connections, on each socket
# Dovecot says at once what it has to say. Any local user can connect to one of the sockets and say nothing.
_SILENCE = 5.0  # seconds
# What Dovecot's own server takes (dict-client.h, DICT_CLIENT_MAX_LINE_LENGTH); its client sends any length.
_LONGEST_LINE = 64 << 10
# Dovecot tells all that it knows of a delivery, the subject too.
_LARGEST_DELIVERY = 1 << 20

_log = logging.getLogger(__name__)


class DeliveryEvent(msgspec.Struct, frozen=True):
    """What of a delivery we look at. `error` is there if there was none."""

    user: str
    mail_from: str = ""
    message_from: str = ""
    error: str = ""

    @property
    def by_oneself(self) -> bool:
        """Whether the user sent it: what an app sends to its owner's other devices, and to itself."""
        return self.user in (self.mail_from.lower(), self.message_from.lower())


class _Event(msgspec.Struct, frozen=True):
    fields: DeliveryEvent


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves a socket that listens already, with a thread for each of `AT_ONCE` connections."""

    daemon_threads = False

    def __init__(self, listening: socket.socket, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def start(self) -> None:
        """Serve from now on."""
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """Take no more connections, and wait for the end of those that there are."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Once there is a place for it."""
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """And give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """A connection that ends early is nothing. Of a bug is told where it is, not what it was about."""
        kind, _, trace = sys.exc_info()
        if kind is not None and not issubclass(kind, OSError):
            _log.error("event=bug error=%s\n%s", kind.__name__, "".join(traceback.format_tb(trace)))


def metadata_listener(listening: socket.socket, entries: EntryStore) -> Listener:
    """What answers Dovecot's dict protocol."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = _SILENCE

        def handle(self) -> None:
            dialogue = Dialogue(entries)
            while line := self.rfile.readline(_LONGEST_LINE):
                whole = line.endswith(b"\n")
                if not whole and not self._skip():
                    return
                try:
                    answer = dialogue.hear(line.removesuffix(b"\n"), whole=whole)
                except DialogueError as error:
                    _log.warning('event=dict-protocol error="%s"', error)
                    return
                self.wfile.write(answer)

        def _skip(self) -> bool:
            """The rest of a line; False if the connection ends before it does."""
            while rest := self.rfile.readline(_LONGEST_LINE):
                if rest.endswith(b"\n"):
                    return True
            return False

    return Listener(listening, Handler)


def delivery_listener(
    listening: socket.socket, path: str, delivered: Callable[[DeliveryEvent], None]
) -> Listener:
    """What takes the deliveries that are posted to `path`, which nobody but Dovecot knows."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _SILENCE

        # The name is http.server's.
        def do_POST(self) -> None:
            self._answer(self._status())

        def _status(self) -> int:
            if not is_told(self.path, path):
                return 404
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _LARGEST_DELIVERY:
                return 413
            # A subject may be in no encoding at all.
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
            # Each comes on a connection of its own: Dovecot posts nothing twice, so one that is sent on a
            # connection that we are just closing, being restarted, would be lost. A new one waits its turn.
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing about who got mail."""

    return Listener(listening, Handler)
