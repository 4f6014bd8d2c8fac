"""A web server with MTA-STS policies (RFC 8461, 3.2), each under the host name that it is asked for."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.lab.plan import Host
from tests.lab.sockets import bound

_PATH = "/.well-known/mta-sts.txt"


@contextmanager
def policy_host(host: Host, policies: Mapping[str, str], certificate: Path, key: Path) -> Iterator[None]:
    """Serve `policies`, host name to text, on 443 while the block runs. Anything else is a 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            policy = policies.get(self.headers["Host"] or "") if self.path == _PATH else None
            text = (policy or "").encode()
            self.send_response(404 if policy is None else 200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: object) -> None:
            """Tests say what they saw."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """Who doesn't like the certificate hangs up."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server((host.ip, 443), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = context.wrap_socket(bound(host, 443), server_side=True)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
