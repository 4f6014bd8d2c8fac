"""The admin pages under gunicorn (`-c python:mxdeliv_app.admin.gunicorn_conf`): settings and application.

Where to listen comes from systemd's socket (LISTEN_FDS). https://docs.gunicorn.org/en/stable/settings.html
"""

from __future__ import annotations

import sys
from typing import Any

wsgi_app = "mxdeliv_app.admin.gunicorn_conf:application()"
worker_class = "gthread"
# One: sessions, and what pages look at, are in its memory.
workers = 1
threads = 8
timeout = 180
graceful_timeout = 10
# A socket that gunicorn makes itself (`--bind unix:`) is for its user and group. By default everybody could
# connect, and name the client's address, by which wrong passwords are counted.
umask = 0o117
limit_request_line = 2048
limit_request_fields = 50
# The heartbeat file must not be on a disk: it may stall.
worker_tmp_dir = "/dev/shm"  # noqa: S108  (a directory, in which gunicorn makes an unlinked file)
accesslog = None
errorlog = "-"
loglevel = "warning"
control_socket_disable = True


def on_starting(_server: Any) -> None:
    """Exits if the environment is invalid. Otherwise gunicorn would restart failing workers for ever."""
    from chatmail_milter.config import load_or_exit
    from mxdeliv_app.admin import passwords

    load_or_exit()
    try:
        passwords.read(passwords.place())
    except passwords.PasswordsError as error:
        print(error, file=sys.stderr)
        sys.exit(78)  # EX_CONFIG of sysexits.h


def application() -> Any:
    """The application with this host's sources."""
    from chatmail_milter.config import load_or_exit
    from chatmail_milter.systemd import log_to_stderr
    from mxdeliv_app.admin import passwords
    from mxdeliv_app.admin.app import create_app
    from mxdeliv_app.admin.order_client import Orders, place
    from mxdeliv_app.admin.sources import Sources, outside

    config = load_or_exit()
    log_to_stderr()
    return create_app(Sources(config, outside(config, Orders(place()))), passwords.read(passwords.place()))
