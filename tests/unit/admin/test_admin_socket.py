"""The socket of the admin pages when gunicorn creates it, without systemd."""

from __future__ import annotations

import logging
from pathlib import Path

import gunicorn.config
import gunicorn.sock

from mxdeliv_app.admin import gunicorn_conf


def test_a_socket_that_gunicorn_makes_is_not_for_everybody(tmp_path: Path) -> None:
    settings = gunicorn.config.Config()
    settings.set("umask", gunicorn_conf.umask)
    made = gunicorn.sock.UnixSocket(str(tmp_path / "s"), settings, logging.getLogger("test"))
    mode = (tmp_path / "s").stat().st_mode & 0o777
    made.close()
    assert mode == 0o660
