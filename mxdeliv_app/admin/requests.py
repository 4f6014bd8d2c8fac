"""Parses requests: HTML or JSON, the fields of a form, each once. Has the errors that answer them."""

from __future__ import annotations

import falcon
from falcon import HTTPError

HOME = "/admin"
_LONGEST = 16384  # octets of a form


class ProblemError(HTTPError):
    """An error with an HTTP status. `title`: what is wrong. `field`: the form field in question."""

    def __init__(self, status: int, title: str, field: str | None = None, retry_after: int = 0) -> None:
        headers = {"Retry-After": str(retry_after)} if retry_after else {}
        if status == 401:
            # RFC 9110, 15.5.2 wants a scheme. Browsers know none of this name, and ask nobody.
            headers["WWW-Authenticate"] = "Form"
        super().__init__(status, title=title, headers=headers)
        self.field = field


def busy() -> ProblemError:
    """The error while others wait for the same slow value."""
    return ProblemError(503, "Too many requests at once, try again", retry_after=5)


def form(request: falcon.Request) -> dict[str, str]:
    """The fields of the body, a form or JSON. The body is read once and cached."""
    known: dict[str, str] | None = getattr(request.context, "form", None)
    if known is None:
        known = request.context.form = _form(request)
    return known


def _form(request: falcon.Request) -> dict[str, str]:
    if (request.content_length or 0) > _LONGEST:
        raise falcon.HTTPContentTooLarge(title="The form is too large")
    try:
        fields = request.get_media(default_when_empty={})
    except RecursionError:
        fields = None
    if not isinstance(fields, dict):
        raise ProblemError(422, "The form is no object with fields")
    for name, value in fields.items():
        if not _is_text(value):
            field = name if _is_text(name) else None
            raise ProblemError(422, "Each field must occur once, with a text", field)
    return fields


def _is_text(value: object) -> bool:
    # JSON can have half of a surrogate pair, which is in no text.
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value
