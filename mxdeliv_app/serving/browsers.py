"""Tells browsers, which get pages, from apps and programs, which get JSON."""

from __future__ import annotations

import falcon
from falcon import mediatypes


def wants_html(request: falcon.Request) -> bool:
    """Whether the client is a browser. Others send no Accept, `*/*` or JSON (RFC 9110, 12.5.1)."""
    try:
        return mediatypes.best_match((falcon.MEDIA_JSON, "text/html"), request.accept.lower()) == "text/html"
    except falcon.errors.InvalidMediaRange:
        return False
