"""gunicorn's settings for `web` and `hooks`: `gunicorn -c python:mxdeliv_app.serving.gunicorn_conf APP`.

Where to listen comes from systemd's socket (LISTEN_FDS), or from `--bind`.
https://docs.gunicorn.org/en/stable/settings.html
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# By their own names: gunicorn takes what is called like a setting, `config` for one, as that setting.
from chatmail_milter.config import load_or_exit
from chatmail_milter.processes.prefork import share_memory

# A request waits for Postfix, Dovecot or the store nearly all of its time: threads. A second process is for
# a second core, and serves while the first is being replaced.
worker_class = "mxdeliv_app.serving.worker.Worker"
workers = 2
threads = 32
# Requests wait in the socket's queue when all threads are busy, not in a worker that took too many.
worker_connections = 128
backlog = 512

# Dovecot keeps its connections to the hooks. nginx makes one for each request, as a POST can't be repeated.
keepalive = 75
# gthread's own heartbeat, not a limit of a request: those are in `smtp`. A stuck worker is replaced.
timeout = 120
# Messages under way are finished: Postfix's verdict on the data may take a while.
graceful_timeout = 60

# A thousand X-Mail-To, each its own field or all joined into one (1000 addresses of 100 octets).
limit_request_fields = 1200
limit_request_field_size = 131072

# The heartbeat file must not be on a disk: it may stall.
worker_tmp_dir = "/dev/shm"  # noqa: S108  (a directory, in which gunicorn makes an unlinked file)
# Nothing about who asked what; our own line a decision says enough.
accesslog = None
errorlog = "-"
loglevel = "warning"
# A way to command the server that nobody needs: systemd does.
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Refuse to start in a bad environment: gunicorn would start workers that refuse, for ever."""
    settings = load_or_exit()
    # Here, so that the workers share it. Each makes its own application (no `preload_app`): that has locks.
    application = import_module(server.app.app_uri.partition(":")[0])
    application.before_workers(settings, server.cfg.threads)


def when_ready(_server: Any) -> None:
    """The workers are forked next."""
    share_memory()
