"""Handles unexpected exceptions: 503 with an SMTP reply 451, and a traceback in the log without content."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import falcon

from chatmail_milter import codes
from mxdeliv_app.mxdeliv import wire

_log = logging.getLogger(__name__)


def our_fault(request: falcon.Request, response: falcon.Response, error: Exception, _params: Any) -> None:
    """Falcon's handler for unexpected exceptions. Never accepts a message nor refuses it permanently."""
    log_bug(request, error)
    response.status = 503
    response.set_header("Retry-After", str(wire.RETRY_AFTER_SECONDS))
    response.content_type = "text/plain; charset=us-ascii"
    response.data = codes.OUR_FAULT.reply.encode("ascii") + b"\r\n"


def log_bug(request: falcon.Request, error: Exception) -> None:
    """Where an exception came from, and no more: its message may hold a piece of mail, or of a statement."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.error("event=bug path=%s error=%s\n%s", request.path, type(error).__name__, where)
