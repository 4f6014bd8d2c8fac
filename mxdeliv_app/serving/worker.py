"""gunicorn's threaded worker, but it skips connections that the client has closed.

A queued connection has its request in the socket's buffer. Clients that disconnect at once could leave
hundreds of them, and parsing a header with a thousand recipients costs 6 ms, so that others would wait for
seconds.
"""

from __future__ import annotations

from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from mxdeliv_app.mxdeliv.hangup import client_left


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The worker for gunicorn's `worker_class`."""

    def handle(self, conn: Any) -> Any:
        """Serves one request; returns False to close the connection."""
        return False if client_left(conn.sock)() else super().handle(conn)
