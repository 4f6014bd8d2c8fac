"""gunicorn's worker with threads, but who has hung up is not served.

A connection waits for its turn with the request in its buffer. Strangers who hang up soon leave hundreds of
them: to read the header of each, with a thousand recipients, costs 6 ms, and who waits behind them waits for
all.
"""

from __future__ import annotations

from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from mxdeliv_app.mxdeliv.hangup import client_left


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """What `worker_class` names."""

    def handle(self, conn: Any) -> Any:
        """Serve one request of a connection; False ends it."""
        return False if client_left(conn.sock)() else super().handle(conn)
