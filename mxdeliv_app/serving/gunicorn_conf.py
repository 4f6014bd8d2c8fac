"""gunicorn's settings and worker, for `web` and `hooks`: `-c python:mxdeliv_app.serving.gunicorn_conf`.

Where to listen comes from systemd's socket (LISTEN_FDS), or from `--bind`.
https://docs.gunicorn.org/en/stable/settings.html
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

# Not `config.load_or_exit`: gunicorn would take a name `config` in this module for its setting of that name.
from chatmail_milter.config import load_or_exit
from chatmail_milter.processes.prefork import default_workers, share_memory
from mxdeliv_app.mxdeliv.admission import client_left


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's threaded worker, but it skips connections that the client has closed.

    A queued connection has its request in the socket's buffer. Clients that disconnect at once could leave
    hundreds of them, and parsing a header with a thousand recipients costs 6 ms, so that others would wait
    for seconds.
    """

    def handle(self, conn: Any) -> Any:
        """Serves one request; returns False to close the connection."""
        return False if client_left(conn.sock)() else super().handle(conn)


# Threads, because a request mostly waits for Postfix, Dovecot or the database. They are more than Dovecot's
# authentication workers, which wait for one answer each: 30 for logins and 30 for deliveries.
worker_class = Worker
workers = default_workers()
threads = 64
# If all threads are busy, requests wait in the listen queue, not in a worker that accepted too many.
worker_connections = 128
backlog = 512

# Seconds. Dovecot keeps its connections to the hooks open. nginx uses one per request: a POST can't be
# repeated.
keepalive = 75
# Seconds without a heartbeat after which a worker is replaced. Not a limit for requests, see `smtp_client`.
timeout = 120
# Seconds to finish requests before a restart: Postfix's reply to the message's data may take a while.
graceful_timeout = 60

# For a thousand X-Mail-To, in separate fields or joined into one (1000 addresses of 100 octets).
limit_request_fields = 1200
limit_request_field_size = 131072

# For the heartbeat file. Not on a disk, which may stall.
worker_tmp_dir = "/dev/shm"  # noqa: S108  (a directory, in which gunicorn makes an unlinked file)
# No access log: it has IP addresses, and the application logs each decision.
accesslog = None
errorlog = "-"
loglevel = "warning"
# Not needed: systemd controls the server.
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Exits if the configuration is invalid. Otherwise gunicorn would restart failing workers for ever."""
    settings = load_or_exit()
    if server.cfg.worker_connections <= server.cfg.threads:
        # gunicorn would accept nothing more before all threads are busy, not even what is refused at once.
        raise SystemExit("set --worker-connections above --threads")
    # Imported before the fork, so that workers share its memory. But each creates its own application (no
    # `preload_app`), which has locks.
    application = import_module(server.app.app_uri.partition(":")[0])
    application.before_workers(settings, server.cfg.threads)


def when_ready(_server: Any) -> None:
    """Called just before workers are forked."""
    share_memory()
